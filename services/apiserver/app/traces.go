package app

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/trace"
	tracev1 "coracle.local/proto/coracle/trace/v1"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/guard"
	"coracle.local/services/apiserver/internal/front/typed"
)

// traces is the TraceService. Kubelets, and who may watch pods, may report about
// them; who may list pods may read their traces.
type traces struct {
	tracev1.UnimplementedTraceServiceServer
	store *trace.Store
	guard *guard.Guard
}

func (t *traces) admit(ctx context.Context, verb string) error {
	a := authorizer.AttributesRecord{Verb: verb, APIVersion: "v1", Resource: "pods", ResourceRequest: true}
	u, err := t.guard.Identify(ctx, typed.Credentials(ctx), a)
	if err != nil {
		return err
	}
	if _, isNode := auth.NodeName(u); isNode && verb == "watch" {
		return nil
	}
	a.User = u
	return t.guard.Authorize(ctx, a)
}

func (t *traces) Report(s grpc.ClientStreamingServer[tracev1.ReportRequest, tracev1.ReportResponse]) error {
	if err := t.admit(s.Context(), "watch"); err != nil {
		return err
	}
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&tracev1.ReportResponse{})
		}
		if err != nil {
			return err
		}
		t.store.Add(r.GetSpans()...)
	}
}

func (t *traces) GetTrace(ctx context.Context, r *tracev1.GetTraceRequest) (*tracev1.GetTraceResponse, error) {
	if err := t.admit(ctx, "list"); err != nil {
		return nil, err
	}
	return &tracev1.GetTraceResponse{Spans: t.store.Get(r.GetTraceId())}, nil
}
