package app

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/trace"
	tracev1 "coracle.local/proto/coracle/trace/v1"
	"coracle.local/services/apiserver/internal/auth/guard"
	"coracle.local/services/apiserver/internal/front/typed"
)

// traces is the TraceService. Components that may watch pods may report about
// them, and who may read pods may read their traces.
type traces struct {
	tracev1.UnimplementedTraceServiceServer
	store *trace.Store
	guard *guard.Guard
}

func (t *traces) admit(ctx context.Context, verb string) error {
	_, err := t.guard.Admit(ctx, typed.Credentials(ctx), authorizer.AttributesRecord{
		Verb: verb, APIVersion: "v1", Resource: "pods", ResourceRequest: true,
	})
	return err
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
