package strategy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/strategy"
)

func TestEraseKeepsWhatIsNotThere(t *testing.T) {
	erased := strategy.Kind[*corev1.ConfigMap]{}.Erase()
	if erased.Default != nil || erased.PrepareCreate != nil || erased.PrepareUpdate != nil || erased.ValidateCreate != nil ||
		erased.ValidateUpdate != nil || erased.Author != nil || erased.Status != nil || erased.Subresources != nil || erased.Scale != nil ||
		erased.Fields != nil || erased.Warnings != nil || erased.GracefulDelete != nil || erased.Cells != nil || erased.Shared != nil {
		t.Errorf("an empty kind became %+v", erased)
	}
}

func TestErasePassesOldAsNilOnCreate(t *testing.T) {
	erased := strategy.Kind[*corev1.ConfigMap]{
		Warnings: func(_, old *corev1.ConfigMap) []string {
			if old == nil {
				return []string{"new"}
			}
			return nil
		},
		ValidateCreate: func(c *corev1.ConfigMap) field.ErrorList {
			return field.ErrorList{field.Required(field.NewPath(c.Name), "")}
		},
	}.Erase()
	obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
	if got := erased.Warnings(obj, nil); len(got) != 1 {
		t.Errorf("a new object is warned of with %v", got)
	}
	if got := erased.Warnings(obj, obj); got != nil {
		t.Errorf("an old object is warned of with %v", got)
	}
	if got := erased.ValidateCreate(obj); len(got) != 1 || got[0].Field != "x" {
		t.Errorf("the object did not get through: %v", got)
	}
}

func TestErasePanicsOnAnotherType(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a Secret passed for a ConfigMap")
		}
	}()
	strategy.Kind[*corev1.ConfigMap]{Default: func(*corev1.ConfigMap) {}}.Erase().Default(&corev1.Secret{})
}

func TestEraseScale(t *testing.T) {
	scale := strategy.Kind[*appsv1.Deployment]{Scale: &strategy.Scale[*appsv1.Deployment]{
		Replicas:       func(d *appsv1.Deployment) int32 { return *d.Spec.Replicas },
		SetReplicas:    func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n },
		StatusReplicas: func(d *appsv1.Deployment) int32 { return d.Status.Replicas },
		Selector:       func(d *appsv1.Deployment) (string, error) { return d.Name, nil },
	}}.Erase().Scale
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Status: appsv1.DeploymentStatus{Replicas: 2}}
	scale.SetReplicas(d, 5)
	selector, err := scale.Selector(d)
	if scale.Replicas(d) != 5 || scale.StatusReplicas(d) != 2 || selector != "x" || err != nil {
		t.Errorf("scale shows %d, %d, %q, %v", scale.Replicas(d), scale.StatusReplicas(d), selector, err)
	}
}

func TestShallowTellsDesiredFromObserved(t *testing.T) {
	s := strategy.Shallow(kinds.For[*flowcontrolv1.FlowSchema]())
	schema := func(precedence int32, dangling string) *flowcontrolv1.FlowSchema {
		return &flowcontrolv1.FlowSchema{
			ObjectMeta: metav1.ObjectMeta{Name: "x", Generation: 1},
			Spec:       flowcontrolv1.FlowSchemaSpec{MatchingPrecedence: precedence},
			Status:     flowcontrolv1.FlowSchemaStatus{Conditions: []flowcontrolv1.FlowSchemaCondition{{Message: dangling}}},
		}
	}
	created := schema(1, "client's")
	s.PrepareCreate(created)
	if created.Generation != 1 || created.Status.Conditions != nil {
		t.Errorf("created as %+v", created)
	}
	updated := schema(2, "client's")
	s.PrepareUpdate(updated, schema(1, "server's"))
	if updated.Generation != 2 || updated.Status.Conditions[0].Message != "server's" {
		t.Errorf("updated to %+v", updated)
	}
	same := schema(1, "client's")
	s.PrepareUpdate(same, schema(1, "server's"))
	if same.Generation != 1 {
		t.Errorf("generation became %d without a change", same.Generation)
	}
	status := schema(2, "controller's")
	s.Status.PrepareUpdate(status, schema(1, "server's"))
	if status.Spec.MatchingPrecedence != 1 || status.Status.Conditions[0].Message != "controller's" {
		t.Errorf("status updated to %+v", status)
	}
}

func TestReshapeWorksOnTheStoredShape(t *testing.T) {
	stored := strategy.Kind[*corev1.Event]{
		Default:       func(e *corev1.Event) { e.Reason += "d" },
		PrepareUpdate: func(e, old *corev1.Event) { e.Reason = old.Reason },
		ValidateUpdate: func(e, old *corev1.Event) field.ErrorList {
			return field.ErrorList{field.Invalid(nil, e.Reason, old.Reason)}
		},
		Warnings: func(_, old *corev1.Event) []string {
			if old == nil {
				return []string{"new"}
			}
			return []string{"old"}
		},
		Cells: func(e *corev1.Event) []any { return []any{e.Reason} },
	}
	k := strategy.Reshape(stored, strategy.Shape[*eventsv1.Event, *corev1.Event]{
		From: func(e *corev1.Event) *eventsv1.Event { return &eventsv1.Event{Reason: e.Reason} },
		To:   func(e *eventsv1.Event) *corev1.Event { return &corev1.Event{Reason: e.Reason} },
		Set:  func(dst, src *eventsv1.Event) { *dst = *src },
	})
	e, old := &eventsv1.Event{Reason: "a"}, &eventsv1.Event{Reason: "b"}
	k.Default(e)
	if e.Reason != "ad" {
		t.Errorf("default made it %q", e.Reason)
	}
	if got := k.ValidateUpdate(e, old); got[0].BadValue != "ad" || got[0].Detail != "b" {
		t.Errorf("validation saw %v", got)
	}
	if diff := cmp.Diff([]any{"ad"}, k.Cells(e)); diff != "" {
		t.Error(diff)
	}
	if got := k.Warnings(e, nil)[0] + k.Warnings(e, old)[0]; got != "newold" {
		t.Errorf("warnings were %q", got)
	}
	k.PrepareUpdate(e, old)
	if e.Reason != "b" {
		t.Errorf("update made it %q", e.Reason)
	}
	if _, err := k.Shared.FromStored(&corev1.Pod{}); err == nil {
		t.Error("a Pod was shown as an Event")
	}
}
