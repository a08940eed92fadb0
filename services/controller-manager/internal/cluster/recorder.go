package cluster

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

// lazyRecorder makes the recorder when it is first used.
type lazyRecorder func() record.EventRecorder

func (r lazyRecorder) Event(about runtime.Object, eventType, reason, message string) {
	r().Event(about, eventType, reason, message)
}

func (r lazyRecorder) Eventf(about runtime.Object, eventType, reason, format string, args ...any) {
	r().Eventf(about, eventType, reason, format, args...)
}

func (r lazyRecorder) AnnotatedEventf(about runtime.Object, annotations map[string]string, eventType, reason, format string, args ...any) {
	r().AnnotatedEventf(about, annotations, eventType, reason, format, args...)
}
