package garbage

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func ref(o kinds.Object, block bool) metav1.OwnerReference {
	k := kinds.ForObject(o)
	return metav1.OwnerReference{APIVersion: k.APIVersion(), Kind: k.Kind, Name: o.GetName(), UID: o.GetUID(), BlockOwnerDeletion: &block}
}

func owned[T kinds.Object](o T, name string, owners ...metav1.OwnerReference) T {
	o.SetNamespace("default")
	o.SetName(name)
	o.SetUID(types.UID("uid-of-" + name))
	o.SetOwnerReferences(owners)
	return o
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	return b.Add(New(b.Deps(), 5))
}

func names(b *workbench.Bench) string {
	var out []string
	for _, list := range [][]metav1.Object{objects[*appsv1.Deployment](b), objects[*appsv1.ReplicaSet](b), objects[*corev1.Pod](b), objects[*corev1.ConfigMap](b)} {
		for _, o := range list {
			name := o.GetName()
			if o.GetDeletionTimestamp() != nil {
				name += "!"
			}
			out = append(out, name)
		}
	}
	return strings.Join(out, " ")
}

func objects[T kinds.Object](b *workbench.Bench) []metav1.Object {
	var out []metav1.Object
	for _, o := range workbench.All[T](b, "") {
		out = append(out, o)
	}
	return out
}

// tree is a Deployment d with a ReplicaSet r with the pods p and q, all
// blocking, and a ConfigMap c of the Deployment that does not block.
func tree() []kinds.Object {
	d := owned(&appsv1.Deployment{}, "d")
	r := owned(&appsv1.ReplicaSet{}, "r", ref(d, true))
	return []kinds.Object{d, r, owned(&corev1.Pod{}, "p", ref(r, true)), owned(&corev1.Pod{}, "q", ref(r, true)), owned(&corev1.ConfigMap{}, "c", ref(d, false))}
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		policy metav1.DeletionPropagation
		left   string
	}{
		{metav1.DeletePropagationBackground, ""},
		{metav1.DeletePropagationForeground, ""},
		{metav1.DeletePropagationOrphan, "r p q c"},
	} {
		t.Run(string(c.policy), func(t *testing.T) {
			b := bench(t, tree()...)
			b.Settle()
			if got := names(b); got != "d r p q c" {
				t.Fatalf("at rest: %s", got)
			}
			workbench.Delete[*appsv1.Deployment](b, "default", "d", c.policy)
			b.Advance(time.Minute)
			if got := names(b); got != c.left {
				t.Fatalf("left: %q, want %q", got, c.left)
			}
			if f := b.Failing(); len(f) > 0 {
				t.Fatalf("failing: %v", f)
			}
		})
	}
}

func TestOrphansLoseTheReference(t *testing.T) {
	b := bench(t, tree()...)
	workbench.Delete[*appsv1.Deployment](b, "default", "d", metav1.DeletePropagationOrphan)
	b.Settle()
	if refs := workbench.Get[*appsv1.ReplicaSet](b, "default", "r").OwnerReferences; len(refs) != 0 {
		t.Fatalf("owners %v", refs)
	}
	if refs := workbench.Get[*corev1.Pod](b, "default", "p").OwnerReferences; len(refs) != 1 {
		t.Fatalf("owners %v", refs)
	}
}

func TestForegroundWaitsForWhatBlocks(t *testing.T) {
	b := bench(t, tree()...)
	workbench.Change(b, "default", "p", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/hold"} })
	workbench.Change(b, "default", "c", func(c *corev1.ConfigMap) { c.Finalizers = []string{"example.com/hold"} })
	workbench.Delete[*appsv1.Deployment](b, "default", "d", metav1.DeletePropagationForeground)
	b.Settle()
	if got := names(b); got != "d! r! p! c!" {
		t.Fatalf("left: %q", got)
	}
	workbench.Change(b, "default", "p", func(p *corev1.Pod) { p.Finalizers = nil })
	workbench.Delete[*corev1.Pod](b, "default", "p")
	b.Settle()
	if got := names(b); got != "c!" {
		t.Fatalf("left: %q: what does not block must not keep its owner", got)
	}
}

func TestKeepsWhatHasAnotherOwner(t *testing.T) {
	objects := tree()
	other := owned(&corev1.ConfigMap{}, "other")
	pod := objects[2]
	pod.SetOwnerReferences(append(pod.GetOwnerReferences(), ref(other, false)))
	b := bench(t, append(objects, other)...)
	workbench.Delete[*appsv1.ReplicaSet](b, "default", "r")
	b.Settle()
	if got := names(b); got != "d p c other" {
		t.Fatalf("left: %q", got)
	}
	if refs := workbench.Get[*corev1.Pod](b, "default", "p").OwnerReferences; len(refs) != 1 || refs[0].Name != "other" {
		t.Fatalf("owners %v", refs)
	}
}

func TestCollectsWhatWasLeftBeforeTheStart(t *testing.T) {
	objects := tree()
	b := bench(t, objects[2:]...) // the owners are gone, and nobody saw it
	b.Settle()
	if got := names(b); got != "" {
		t.Fatalf("left: %q", got)
	}
}

func TestDoesNotTrustACacheThatIsBehind(t *testing.T) {
	objects := tree()
	b := bench(t)
	b.API.Hold(kinds.For[*appsv1.ReplicaSet](), true)
	b.API.Seed(objects...)
	b.Settle()
	if got := names(b); got != "d r p q c" {
		t.Fatalf("left: %q", got)
	}
}

func TestAnOwnerOfTheSameNameIsNoOwner(t *testing.T) {
	objects := tree()
	b := bench(t, objects...)
	again := owned(&appsv1.ReplicaSet{}, "r")
	again.SetUID("another")
	b.API.Hold(kinds.For[*appsv1.ReplicaSet](), true)
	workbench.Delete[*appsv1.ReplicaSet](b, "default", "r")
	b.API.Seed(again)
	b.API.Hold(kinds.For[*appsv1.ReplicaSet](), false)
	b.Settle()
	if got := names(b); got != "d r c" {
		t.Fatalf("left: %q", got)
	}
}

func TestLeavesUnknownAndMisplacedOwnersAlone(t *testing.T) {
	strange := owned(&corev1.ConfigMap{}, "strange", metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Thing", Name: "x", UID: "x"})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "p"}}}}
	b := bench(t, strange, node)
	b.Settle()
	workbench.Get[*corev1.ConfigMap](b, "default", "strange")
	workbench.Get[*corev1.Node](b, "", "n")
	if e := b.API.Events(); len(e) == 0 || e[0].Reason != "OwnerRefInvalidNamespace" {
		t.Fatalf("events %v", e)
	}
}

func TestDecidesNothingWithAnOwnerNobodyKnows(t *testing.T) {
	gone := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "gone", UID: "gone"}
	strange := metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Thing", Name: "x", UID: "x"}
	b := bench(t, owned(&corev1.ConfigMap{}, "c", gone, strange))
	b.Advance(time.Minute)
	if refs := workbench.Get[*corev1.ConfigMap](b, "default", "c").OwnerReferences; len(refs) != 2 {
		t.Fatalf("owners %v", refs)
	}
}

func TestACircleIsBroken(t *testing.T) {
	a, c := owned(&corev1.ConfigMap{}, "a"), owned(&corev1.ConfigMap{}, "b")
	a.OwnerReferences = []metav1.OwnerReference{ref(c, true)}
	c.OwnerReferences = []metav1.OwnerReference{ref(a, true)}
	b := bench(t, a, c)
	workbench.Delete[*corev1.ConfigMap](b, "default", "a", metav1.DeletePropagationForeground)
	b.Advance(time.Minute)
	if got := names(b); got != "" {
		t.Fatalf("left: %q", got)
	}
}

func TestManyDependentsAskForTheirOwnerNeverWhenItsEndWasSeen(t *testing.T) {
	r := owned(&appsv1.ReplicaSet{}, "r")
	all := []kinds.Object{r}
	for i := range 50 {
		all = append(all, owned(&corev1.Pod{}, "p"+string(rune('0'+i/10))+string(rune('0'+i%10)), ref(r, true)))
	}
	b := bench(t, all...)
	b.Settle()
	b.API.Calls()
	workbench.Delete[*appsv1.ReplicaSet](b, "default", "r")
	b.Settle()
	calls := b.API.Calls()
	if slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, "get ") }) || len(calls) != 51 {
		t.Fatalf("%d calls: %v", len(calls), calls[:min(10, len(calls))])
	}
}
