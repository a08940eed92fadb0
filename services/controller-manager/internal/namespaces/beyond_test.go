package namespaces

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/workbench"
)

func TestDeletesCustomResources(t *testing.T) {
	k := workbench.Custom("Thing", "things", true)
	wide := workbench.Custom("Wide", "wides", false)
	b := bench(t)
	b.API.Extend(k)
	b.API.Extend(wide)
	for _, ns := range []string{"a", "b"} {
		o := k.New()
		o.SetNamespace(ns)
		o.SetName("x")
		if ns == "a" {
			o.SetFinalizers([]string{"example.com/hold"})
		}
		b.API.Seed(o)
	}
	w := wide.New()
	w.SetName("w")
	b.API.Seed(w)
	workbench.Delete[*corev1.Namespace](b, "", "a")
	b.Advance(time.Minute)
	ns := workbench.Get[*corev1.Namespace](b, "", "a")
	if c := conditionOf(ns, corev1.NamespaceContentRemaining); c.Message != "Some resources are remaining: things.example.com has 1 resource instances" {
		t.Fatalf("condition %+v", c)
	}
	o, err := b.API.Get(t.Context(), k, "a", "x")
	if err != nil || o.GetDeletionTimestamp() == nil {
		t.Fatalf("%v, %v", o, err)
	}
	o.SetFinalizers(nil)
	if _, err := b.API.Update(t.Context(), o, ""); err != nil {
		t.Fatal(err)
	}
	b.Advance(time.Minute)
	if _, ok := workbench.Find[*corev1.Namespace](b, "", "a"); ok {
		t.Fatal("the namespace is still there")
	}
	if _, err := b.API.Get(t.Context(), k, "b", "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.API.Get(t.Context(), wide, "", "w"); err != nil {
		t.Fatal(err)
	}
}

func TestGoesOnWithoutAGroupThatDoesNotAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		message string
	}{
		"one group": {
			&cluster.DiscoveryError{Groups: map[schema.GroupVersion]error{{Group: "x.io", Version: "v1"}: errors.New("stale GroupVersion discovery: x.io/v1")}},
			"Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: x.io/v1: stale GroupVersion discovery: x.io/v1",
		},
		"all": {errors.New("no way"), "no way"},
	} {
		b := bench(t, &corev1.ConfigMap{ObjectMeta: in("a", "c")})
		b.API.DiscoveryErr = c.err
		workbench.Delete[*corev1.Namespace](b, "", "a")
		b.Advance(10 * time.Second)
		ns := workbench.Get[*corev1.Namespace](b, "", "a")
		if got := conditionOf(ns, corev1.NamespaceDeletionDiscoveryFailure); got.Status != corev1.ConditionTrue || got.Reason != "DiscoveryFailed" || got.Message != c.message {
			t.Errorf("%s: condition %+v", name, got)
		}
		if _, ok := workbench.Find[*corev1.ConfigMap](b, "a", "c"); ok {
			t.Errorf("%s: the content is still there", name)
		}
		b.API.DiscoveryErr = nil
		b.Advance(2 * time.Minute)
		if _, ok := workbench.Find[*corev1.Namespace](b, "", "a"); ok {
			t.Errorf("%s: the namespace is still there", name)
		}
	}
}
