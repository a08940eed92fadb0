package workbench

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"coracle.local/libs/kinds"
)

// Event is one that a controller recorded.
type Event struct{ Component, About, Type, Reason, Message string }

// Events returns what was recorded so far.
func (a *API) Events() []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Event(nil), a.events...)
}

// Recorder implements cluster.API.
func (a *API) Recorder(component string) record.EventRecorder { return recorder{a, component} }

type recorder struct {
	api       *API
	component string
}

func (r recorder) Event(about runtime.Object, eventType, reason, message string) {
	name := fmt.Sprintf("%T", about)
	if o, ok := about.(kinds.Object); ok {
		if k := kinds.ForObject(o); k != nil {
			name = k.Kind
		}
		name += " " + cache.MetaObjectToName(o).String()
	}
	r.api.mu.Lock()
	defer r.api.mu.Unlock()
	r.api.events = append(r.api.events, Event{r.component, name, eventType, reason, message})
}

func (r recorder) Eventf(about runtime.Object, eventType, reason, format string, args ...any) {
	r.Event(about, eventType, reason, fmt.Sprintf(format, args...))
}

func (r recorder) AnnotatedEventf(about runtime.Object, _ map[string]string, eventType, reason, format string, args ...any) {
	r.Event(about, eventType, reason, fmt.Sprintf(format, args...))
}
