package audit

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/apistatus"
)

// call begins the record of a gRPC call, which is recorded as a request to the
// path of its method.
func (a *Auditor) call(ctx context.Context, method string, long bool) (context.Context, *Record) {
	id := first(ctx, "audit-id")
	if id == "" {
		id = string(uuid.NewUUID())
	}
	ctx, record := a.begin(ctx, id, long, time.Now())
	record.request = &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: method}, Header: http.Header{"User-Agent": {first(ctx, "user-agent")}},
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		record.request.RemoteAddr = p.Addr.String()
		if _, _, err := net.SplitHostPort(record.request.RemoteAddr); err != nil {
			record.request.RemoteAddr = "127.0.0.1:0" // a connection of this process
		}
	}
	return ctx, record
}

func first(ctx context.Context, header string) string {
	if values := metadata.ValueFromIncomingContext(ctx, header); len(values) > 0 {
		return values[0]
	}
	return ""
}

// ended notes how a call ended.
func (r *Record) ended(err error) {
	if err != nil {
		status := apistatus.Of(err)
		Status(r.ctx, &status)
		r.Began(int(status.Code))
	} else {
		r.Began(http.StatusOK)
	}
	r.Done(nil)
}

// UnaryInterceptor records unary calls; without an auditor it does nothing.
func UnaryInterceptor(a *Auditor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if a == nil {
			return handle(ctx, request)
		}
		ctx, record := a.call(ctx, info.FullMethod, false)
		defer record.panicked()
		answer, err := handle(ctx, request)
		record.ended(err)
		return answer, err
	}
}

// StreamInterceptor records streams: their beginning, which is the first message
// that is sent, and their end.
func StreamInterceptor(a *Auditor) grpc.StreamServerInterceptor {
	return func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		if a == nil {
			return handle(srv, s)
		}
		ctx, record := a.call(s.Context(), info.FullMethod, true)
		defer record.panicked()
		err := handle(srv, &stream{ServerStream: s, ctx: ctx, record: record})
		record.ended(err)
		return err
	}
}

// panicked notes a panic and lets it go on.
func (r *Record) panicked() {
	if p := recover(); p != nil {
		r.Done(p)
		panic(p)
	}
}

type stream struct {
	grpc.ServerStream
	ctx    context.Context
	record *Record
	once   sync.Once
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) SendMsg(m any) error {
	s.once.Do(func() { s.record.Began(http.StatusOK) })
	return s.ServerStream.SendMsg(m)
}

// Part begins the record of one of the acts of a stream, which each have an
// event of their own. done notes its end.
func Part(ctx context.Context, u user.Info, a authorizer.AttributesRecord) (_ context.Context, done func(error), err error) {
	whole := from(ctx)
	if whole == nil {
		return ctx, func(error) {}, nil
	}
	values, record := whole.auditor.begin(context.Background(), string(uuid.NewUUID()), false, time.Now())
	record.request = whole.request
	if err := Begin(values, u, a); err != nil {
		return nil, nil, err
	}
	return overlay{ctx, values}, record.ended, nil
}

// overlay is a context with the values of another over its own.
type overlay struct {
	context.Context
	values context.Context
}

func (o overlay) Value(key any) any {
	if v := o.values.Value(key); v != nil {
		return v
	}
	return o.Context.Value(key)
}
