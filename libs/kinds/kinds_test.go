package kinds_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
)

func TestTableIsConsistent(t *testing.T) {
	services := map[string]bool{}
	for _, k := range kinds.All() {
		if k.Kind == "" || k.Plural == "" || k.Singular == "" || k.Message == "" || len(k.Verbs) == 0 {
			t.Errorf("%v lacks something: %+v", k.GroupVersionKind(), k)
		}
		if services[k.Service()] {
			t.Errorf("two kinds share the service %s", k.Service())
		}
		services[k.Service()] = true
		if kinds.ByResource(k.GroupVersionResource()) != k || kinds.ByKind(k.GroupVersionKind()) != k || kinds.ForObject(k.New()) != k {
			t.Errorf("%v is not found by its own names", k.GroupVersionKind())
		}
		if k.Has("list") != (k.NewList != nil) {
			t.Errorf("%v: list verb and list type disagree", k.GroupVersionKind())
		}
		if k.NewList != nil {
			gvks, _, err := kinds.Scheme().ObjectKinds(k.NewList())
			if err != nil || len(gvks) == 0 || gvks[0].Kind != k.Kind+"List" {
				t.Errorf("%v: list type %T is registered as %v (%v)", k.GroupVersionKind(), k.NewList(), gvks, err)
			}
		}
	}
}

func TestNamesOfKinds(t *testing.T) {
	if got := kinds.For[*corev1.Pod]().Message; got != "k8s.io.api.core.v1.Pod" {
		t.Errorf("message of pods: %s", got)
	}
	events := kinds.ByResource(schema.GroupVersionResource{Group: "events.k8s.io", Version: "v1", Resource: "events"})
	if events.StoredAs != kinds.For[*corev1.Event]() {
		t.Errorf("events of events.k8s.io are stored as %v", events.StoredAs)
	}
	if got := events.Service(); got != "coracle.api.v1.EventsV1EventService" {
		t.Errorf("service of events.k8s.io: %s", got)
	}
	for _, k := range kinds.Stored() {
		if k.StoredAs != nil {
			t.Errorf("%v is listed as stored by itself", k.GroupVersionKind())
		}
	}
}
