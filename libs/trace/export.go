package trace

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"

	tracev1 "coracle.local/proto/coracle/trace/v1"
)

// Reporter sends spans to the API server, where `coracle trace` reads them.
// Spans that cannot be delivered are dropped: a trace is never worth a
// component's time.
func Reporter(cc grpc.ClientConnInterface) sdktrace.SpanExporter {
	return reporter{tracev1.NewTraceServiceClient(cc)}
}

type reporter struct{ client tracev1.TraceServiceClient }

// ExportSpans never fails: OpenTelemetry would print the error, and whoever
// watches the component's log has better ways to see that the server is away.
func (r reporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	request := &tracev1.ReportRequest{}
	for _, s := range spans {
		request.Spans = append(request.Spans, message(s))
	}
	stream, err := r.client.Report(ctx)
	if err == nil && stream.Send(request) == nil {
		_, _ = stream.CloseAndRecv()
	}
	return nil
}

func (reporter) Shutdown(context.Context) error { return nil }

// Open returns a component's tracer that exports to where told, and also to the
// endpoint that OpenTelemetry's environment variables name, if they name one.
func Open(ctx context.Context, component string, to sdktrace.SpanExporter) (*Tracer, error) {
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return New(component, to), nil
	}
	otlp, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the OTLP endpoint: %w", err)
	}
	return New(component, to, otlp), nil
}
