// Package trace records what a component did for a pod: OpenTelemetry spans
// whose trace ID is the pod's UID, so that no context has to be carried
// between components.
package trace

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"
)

// Tracer makes the spans of one component. A nil *Tracer makes none, so that
// callers need not ask.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   oteltrace.Tracer
}

// flush is the longest time a finished span waits before it is exported: short
// enough for a person who asks for a trace right after kubectl came back.
const flush = 200 * time.Millisecond

// New returns a tracer that hands the component's spans to the exporters. Call
// Shutdown at the end.
func New(component string, exporters ...sdktrace.SpanExporter) *Tracer {
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithSampler(sdktrace.AlwaysSample()),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", component))),
	}
	for _, e := range exporters {
		if _, local := e.(*Store); local {
			options = append(options, sdktrace.WithSyncer(e))
			continue
		}
		options = append(options, sdktrace.WithBatcher(e, sdktrace.WithBatchTimeout(flush)))
	}
	p := sdktrace.NewTracerProvider(options...)
	return &Tracer{provider: p, tracer: p.Tracer("coracle")}
}

// Shutdown exports what is left.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Start begins a span of the pod's trace; the caller ends it.
func (t *Tracer) Start(ctx context.Context, uid types.UID, name string, attrs ...attribute.KeyValue) (context.Context, oteltrace.Span) {
	if t == nil {
		return ctx, oteltrace.SpanFromContext(context.Background())
	}
	return t.tracer.Start(root(ctx, uid), name, oteltrace.WithAttributes(attrs...))
}

// Record adds a span that is already over.
func (t *Tracer) Record(uid types.UID, name string, start, end time.Time, attrs ...attribute.KeyValue) {
	if t == nil {
		return
	}
	_, span := t.tracer.Start(root(context.Background(), uid), name,
		oteltrace.WithTimestamp(start), oteltrace.WithAttributes(attrs...))
	span.End(oteltrace.WithTimestamp(end))
}

// Fail marks a span as failed; a nil error leaves it alone.
func Fail(span oteltrace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
}

// root makes the pod's UID the trace, unless ctx is in that trace already.
func root(ctx context.Context, uid types.UID) context.Context {
	id, ok := ID(string(uid))
	if !ok || oteltrace.SpanContextFromContext(ctx).TraceID() == id {
		return ctx
	}
	var parent oteltrace.SpanID
	copy(parent[:], id[:8])
	return oteltrace.ContextWithRemoteSpanContext(ctx, oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
		TraceID: id, SpanID: parent, TraceFlags: oteltrace.FlagsSampled, Remote: true,
	}))
}

// ID reads a trace ID from a UID, with or without hyphens.
func ID(uid string) (oteltrace.TraceID, bool) {
	var id oteltrace.TraceID
	b, err := hex.DecodeString(strings.ReplaceAll(uid, "-", ""))
	if err != nil || len(b) != len(id) {
		return id, false
	}
	copy(id[:], b)
	return id, id.IsValid()
}
