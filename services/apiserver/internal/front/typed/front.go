// Package typed is the gRPC front: one typed service for each kind of the
// table, over the same registry, authentication and authorization as REST.
package typed

import (
	"context"

	"google.golang.org/grpc"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth/guard"
	"coracle.local/services/apiserver/internal/registry"
	"coracle.local/services/apiserver/internal/strategy"
)

// Reviews answers the kinds that are asked and never stored, and issues tokens.
type Reviews interface {
	// Review fills in the answer of a TokenReview, SubjectAccessReview and so on.
	Review(ctx context.Context, k *kinds.Kind, namespace string, obj kinds.Object) (kinds.Object, error)
	// Token issues a token for a ServiceAccount.
	Token(ctx context.Context, namespace, account string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Config is what the front needs; all but Managers must be set.
type Config struct {
	Registry *registry.Registry
	Guard    *guard.Guard
	Reviews  Reviews
	Managers Managers
}

// Register adds every kind's service to a server.
func Register(s grpc.ServiceRegistrar, cfg Config) {
	for _, k := range kinds.All() {
		f := &front{Config: cfg, kind: k, selectable: strategy.Selectable(k, cfg.Registry.Strategy(k))}
		s.RegisterService(f.describe(), f)
	}
}

// front serves one kind.
type front struct {
	Config
	kind       *kinds.Kind
	selectable []string // fields beyond name and namespace
}

type unary func(ctx context.Context, decode func(any) error) (any, error)

// describe makes the kind's service from the table, as protoc would from the
// .proto file.
func (f *front) describe() *grpc.ServiceDesc {
	d := &grpc.ServiceDesc{ServiceName: f.kind.Service(), HandlerType: (*any)(nil)}
	method := func(verb, name string, handle unary) {
		if f.kind.Has(verb) {
			d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: name, Handler: f.handler(name, handle)})
		}
	}
	method("get", "Get", f.get)
	method("list", "List", f.list)
	method("create", "Create", f.create)
	method("update", "Update", f.update)
	if f.kind.HasSubresource("status") {
		method("update", "UpdateStatus", f.updateStatus)
	}
	method("patch", "Patch", f.patch)
	method("delete", "Delete", f.delete)
	method("deletecollection", "DeleteCollection", f.deleteCollection)
	if f.kind.HasSubresource("eviction") {
		method("create", "Evict", f.evict)
	}
	if f.kind.HasSubresource("token") {
		method("create", "CreateToken", f.createToken)
	}
	if f.kind.Has("watch") {
		d.Streams = append(d.Streams, grpc.StreamDesc{StreamName: "Watch", Handler: f.watch, ServerStreams: true})
	}
	if f.kind.HasSubresource("binding") {
		d.Streams = append(d.Streams, grpc.StreamDesc{StreamName: "Bind", Handler: f.bind, ServerStreams: true, ClientStreams: true})
	}
	return d
}

// handler is a unary method as grpc wants it: the request is decoded by the
// method, the interceptors run around the whole.
func (f *front) handler(name string, handle unary) grpc.MethodHandler {
	full := "/" + f.kind.Service() + "/" + name
	return func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		run := func(ctx context.Context, _ any) (any, error) { return handle(ctx, decode) }
		if intercept == nil {
			return run(ctx, nil)
		}
		return intercept(ctx, nil, &grpc.UnaryServerInfo{Server: srv, FullMethod: full}, run)
	}
}

// selectors reads the selectors of a request. A field selector may only name
// fields that the kind has.
func (f *front) selectors(label, field string) (labels.Selector, fields.Selector, error) {
	l, err := labels.Parse(label)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	fs, err := fields.ParseSelector(field)
	if err == nil && !fs.Empty() {
		fs, err = strategy.CheckFields(f.kind, f.selectable, fs)
	}
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return l, fs, nil
}

// malformed says what is wrong with a message.
func malformed(err error) error {
	return apierrors.NewBadRequest("the request does not decode: " + err.Error())
}
