package client

import (
	"context"
	"os"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"coracle.local/libs/kinds"
)

// NewRecorder returns client-go's recorder, which folds repeated events; they
// are written until ctx ends. component is the events' source.
func NewRecorder(ctx context.Context, c *Conn, component string, log *zap.Logger) record.EventRecorder {
	host, err := os.Hostname()
	if err != nil {
		log.Warn("no host name for events", zap.Error(err))
	}
	return NewRecorderOn(ctx, c, corev1.EventSource{Component: component, Host: host})
}

// NewRecorderOn is NewRecorder with a whole source, for a kubelet's node name.
func NewRecorderOn(ctx context.Context, c *Conn, source corev1.EventSource) record.EventRecorder {
	b := record.NewBroadcaster(record.WithContext(ctx))
	b.StartRecordingToSink(eventSink{ctx, For[*corev1.Event](c)})
	context.AfterFunc(ctx, b.Shutdown)
	return b.NewRecorder(kinds.Scheme(), source)
}

type eventSink struct {
	ctx    context.Context
	client Client[*corev1.Event]
}

func (s eventSink) Create(e *corev1.Event) (*corev1.Event, error) { return s.client.Create(s.ctx, e) }

func (s eventSink) Update(e *corev1.Event) (*corev1.Event, error) { return s.client.Update(s.ctx, e) }

func (s eventSink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.client.Patch(s.ctx, e.Namespace, e.Name, types.StrategicMergePatchType, data, "")
}
