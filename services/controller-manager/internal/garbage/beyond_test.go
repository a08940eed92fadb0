package garbage

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func custom(k *kinds.Kind, name string, owners ...metav1.OwnerReference) kinds.Object {
	o := k.New()
	o.SetName(name)
	if k.Namespaced {
		o.SetNamespace("default")
	}
	o.SetUID(types.UID("uid-of-" + name))
	o.SetOwnerReferences(owners)
	return o
}

func refTo(k *kinds.Kind, o kinds.Object, block bool) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: k.APIVersion(), Kind: k.Kind, Name: o.GetName(), UID: o.GetUID(), BlockOwnerDeletion: &block}
}

// family is a custom resource o that owns another, i, which owns the pod p.
func family(t *testing.T) (*workbench.Bench, *kinds.Kind, *kinds.Kind) {
	outer, inner := workbench.Custom("Outer", "outers", false), workbench.Custom("Inner", "inners", true)
	b := bench(t)
	b.API.Extend(outer)
	b.API.Extend(inner)
	o := custom(outer, "o")
	i := custom(inner, "i", refTo(outer, o, true))
	b.API.Seed(o, i, owned(&corev1.Pod{}, "p", refTo(inner, i, true)))
	b.Settle()
	return b, outer, inner
}

func left(b *workbench.Bench, of ...*kinds.Kind) int {
	n := len(workbench.All[*corev1.Pod](b, ""))
	for _, k := range of {
		objects, err := b.API.List(b.T.Context(), k, "")
		if err != nil {
			b.T.Fatal(err)
		}
		n += len(objects)
	}
	return n
}

func remove1(b *workbench.Bench, k *kinds.Kind, namespace, name string, policy metav1.DeletionPropagation) {
	b.T.Helper()
	if err := b.API.Delete(b.T.Context(), k, namespace, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		b.T.Fatal(err)
	}
}

func TestPoliciesOfCustomResources(t *testing.T) {
	for policy, want := range map[metav1.DeletionPropagation]int{
		metav1.DeletePropagationBackground: 0, metav1.DeletePropagationForeground: 0, metav1.DeletePropagationOrphan: 2,
	} {
		b, outer, inner := family(t)
		if n := left(b, outer, inner); n != 3 {
			t.Fatalf("at rest: %d objects", n)
		}
		remove1(b, outer, "", "o", policy)
		b.Advance(time.Minute)
		if n := left(b, outer, inner); n != want {
			t.Errorf("%s: %d objects left", policy, n)
		}
		if f := b.Failing(); len(f) > 0 {
			t.Errorf("%s: failing %v", policy, f)
		}
		if want == 0 {
			continue
		}
		if i, err := b.API.Get(t.Context(), inner, "default", "i"); err != nil || len(i.GetOwnerReferences()) != 0 {
			t.Errorf("%s: %v, %v", policy, i, err)
		}
	}
}

func TestForegroundWaitsForCustomResources(t *testing.T) {
	b, outer, inner := family(t)
	workbench.Change(b, "default", "p", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/hold"} })
	remove1(b, outer, "", "o", metav1.DeletePropagationForeground)
	b.Advance(time.Minute)
	if n := left(b, outer, inner); n != 3 {
		t.Fatalf("%d objects left of the 3 that wait", n)
	}
	workbench.Change(b, "default", "p", func(p *corev1.Pod) { p.Finalizers = nil })
	workbench.Delete[*corev1.Pod](b, "default", "p")
	b.Advance(time.Minute)
	if n := left(b, outer, inner); n != 0 {
		t.Fatalf("%d objects left", n)
	}
}

func TestDependentsOfAKindThatComesLater(t *testing.T) {
	k := workbench.Custom("Thing", "things", true)
	gone := custom(k, "x")
	b := bench(t, owned(&corev1.Pod{}, "p", refTo(k, gone, true)))
	b.Advance(time.Minute)
	if n := left(b); n != 1 {
		t.Fatal("what has an owner of a kind that nobody knows was deleted")
	}
	b.API.Extend(k)
	b.Advance(time.Minute)
	if n := left(b); n != 0 {
		t.Fatal("its owner is known to be gone")
	}
}

func TestWaitsUntilAllDependentsAreKnown(t *testing.T) {
	b := bench(t, owned(&corev1.ConfigMap{}, "c"))
	b.API.Unsettle(true)
	workbench.Delete[*corev1.ConfigMap](b, "default", "c", metav1.DeletePropagationForeground)
	b.Advance(5 * time.Second)
	if got := names(b); got != "c!" {
		t.Fatalf("left: %q", got)
	}
	b.API.Unsettle(false)
	b.Advance(5 * time.Second)
	if got := names(b); got != "" {
		t.Fatalf("left: %q", got)
	}
}
