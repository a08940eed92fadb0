package trace

import (
	"container/list"
	"context"
	"slices"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	tracev1 "coracle.local/proto/coracle/trace/v1"
)

// Bounds of the store: traces kept, the oldest goes first, and spans in each.
const (
	keepTraces = 2000
	keepSpans  = 100
)

// Store keeps the newest traces in memory. It is an exporter of the process's
// own spans and takes those that others report.
type Store struct {
	mu     sync.Mutex
	traces map[string]*list.Element // of *kept, by trace ID
	order  list.List                // oldest first
}

type kept struct {
	id    string
	spans []*tracev1.Span
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{traces: map[string]*list.Element{}} }

// Add takes spans; those past the bound of a trace are dropped.
func (s *Store) Add(spans ...*tracev1.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range spans {
		e := s.traces[span.GetTraceId()]
		if e == nil {
			e = s.order.PushBack(&kept{id: span.GetTraceId()})
			s.traces[span.GetTraceId()] = e
			if s.order.Len() > keepTraces {
				oldest := s.order.Remove(s.order.Front()).(*kept)
				delete(s.traces, oldest.id)
			}
		}
		if k := e.Value.(*kept); len(k.spans) < keepSpans {
			k.spans = append(k.spans, span)
		}
	}
}

// Get returns the spans of a trace by start time. id is a pod's UID, with or
// without hyphens.
func (s *Store) Get(id string) []*tracev1.Span {
	t, ok := ID(id)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.traces[t.String()]
	if e == nil {
		return nil
	}
	out := slices.Clone(e.Value.(*kept).spans)
	slices.SortStableFunc(out, func(a, b *tracev1.Span) int {
		return a.GetStart().AsTime().Compare(b.GetStart().AsTime())
	})
	return out
}

// ExportSpans implements the SDK's exporter.
func (s *Store) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, span := range spans {
		s.Add(message(span))
	}
	return nil
}

// Shutdown implements the SDK's exporter.
func (s *Store) Shutdown(context.Context) error { return nil }

func message(s sdktrace.ReadOnlySpan) *tracev1.Span {
	out := &tracev1.Span{
		TraceId: s.SpanContext().TraceID().String(),
		SpanId:  s.SpanContext().SpanID().String(),
		Name:    s.Name(),
		Start:   timestamppb.New(s.StartTime()),
		End:     timestamppb.New(s.EndTime()),
		Error:   s.Status().Description,
	}
	if s.Parent().HasSpanID() {
		out.ParentSpanId = s.Parent().SpanID().String()
	}
	for _, a := range s.Resource().Attributes() {
		if a.Key == "service.name" {
			out.Component = a.Value.AsString()
		}
	}
	if attrs := s.Attributes(); len(attrs) > 0 {
		out.Attributes = make(map[string]string, len(attrs))
		for _, a := range attrs {
			out.Attributes[string(a.Key)] = a.Value.String()
		}
	}
	return out
}
