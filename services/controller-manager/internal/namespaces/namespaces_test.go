package namespaces

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func space(name string) *corev1.Namespace {
	return &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
	}
}

func TestEveryNamespaceGetsItsContent(t *testing.T) {
	b := workbench.New(t, space("a"))
	d := b.Deps()
	b.Add(ServiceAccounts(d), RootCA(d, []byte("PEM")))
	b.API.Seed(space("b"))
	b.Settle()
	for _, ns := range []string{"a", "b"} {
		workbench.Get[*corev1.ServiceAccount](b, ns, "default")
		if cm := workbench.Get[*corev1.ConfigMap](b, ns, rootCAName); cm.Data["ca.crt"] != "PEM" || cm.Annotations[descriptionAnnotation] == "" {
			t.Fatalf("%s: %v", ns, cm)
		}
	}
	workbench.Delete[*corev1.ServiceAccount](b, "a", "default")
	workbench.Change(b, "a", rootCAName, func(cm *corev1.ConfigMap) { cm.Data = map[string]string{"ca.crt": "forged"} })
	b.Settle()
	workbench.Get[*corev1.ServiceAccount](b, "a", "default")
	if cm := workbench.Get[*corev1.ConfigMap](b, "a", rootCAName); cm.Data["ca.crt"] != "PEM" {
		t.Fatalf("%v", cm.Data)
	}
	workbench.Delete[*corev1.Namespace](b, "", "a")
	workbench.Delete[*corev1.ServiceAccount](b, "a", "default")
	b.Settle()
	if _, ok := workbench.Find[*corev1.ServiceAccount](b, "a", "default"); ok {
		t.Fatal("an account was made in a namespace that ends")
	}
}

func in(ns, name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, append(objects, space("a"), space("b"))...)
	return b.Add(Deletion(b.Deps()))
}

func conditionOf(ns *corev1.Namespace, kind corev1.NamespaceConditionType) corev1.NamespaceCondition {
	for _, c := range ns.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.NamespaceCondition{}
}

func TestDeletesAllContentPodsFirst(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: in("a", "p"), Spec: corev1.PodSpec{NodeName: "n", TerminationGracePeriodSeconds: ptr.To[int64](30)}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	b := bench(t, pod, &corev1.ConfigMap{ObjectMeta: in("a", "c")}, &corev1.Secret{ObjectMeta: in("b", "s")})
	workbench.Delete[*corev1.Namespace](b, "", "a")
	b.Advance(2 * time.Second)
	ns := workbench.Get[*corev1.Namespace](b, "", "a")
	if c := conditionOf(ns, corev1.NamespaceContentRemaining); c.Status != corev1.ConditionTrue ||
		c.Message != "Some resources are remaining: pods. has 1 resource instances" {
		t.Fatalf("condition %+v", c)
	}
	if p := workbench.Get[*corev1.Pod](b, "a", "p"); p.DeletionTimestamp == nil {
		t.Fatal("the pod is not being deleted")
	}
	workbench.Get[*corev1.ConfigMap](b, "a", "c") // waits for the pod
	b.Kubelet(nil, "n")
	b.Advance(2 * time.Second)
	if _, ok := workbench.Find[*corev1.Namespace](b, "", "a"); ok {
		t.Fatal("the namespace is still there")
	}
	if _, ok := workbench.Find[*corev1.ConfigMap](b, "a", "c"); ok {
		t.Fatal("its content is still there")
	}
	workbench.Get[*corev1.Secret](b, "b", "s")
}

func TestWaitsForFinalizers(t *testing.T) {
	cm := &corev1.ConfigMap{ObjectMeta: in("a", "c")}
	cm.Finalizers = []string{"example.com/hold"}
	b := bench(t, cm)
	workbench.Delete[*corev1.Namespace](b, "", "a")
	b.Advance(time.Minute)
	ns := workbench.Get[*corev1.Namespace](b, "", "a")
	if c := conditionOf(ns, corev1.NamespaceFinalizersRemaining); c.Status != corev1.ConditionTrue ||
		c.Message != "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances" {
		t.Fatalf("condition %+v", c)
	}
	if c := conditionOf(ns, corev1.NamespaceDeletionDiscoveryFailure); c.Status != corev1.ConditionFalse || c.Reason != "ResourcesDiscovered" {
		t.Fatalf("condition %+v", c)
	}
	workbench.Change(b, "a", "c", func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
	workbench.Delete[*corev1.ConfigMap](b, "a", "c")
	b.Advance(time.Minute)
	if _, ok := workbench.Find[*corev1.Namespace](b, "", "a"); ok {
		t.Fatal("the namespace is still there")
	}
}

func TestReportsWhatCannotBeDeleted(t *testing.T) {
	b := bench(t, &corev1.ConfigMap{ObjectMeta: in("a", "c")}, &corev1.Secret{ObjectMeta: in("a", "s")})
	b.API.Fail = func(verb string, k *kinds.Kind, _, _ string) error {
		if verb == "deletecollection" && k.Plural == "configmaps" {
			return errors.New("broken")
		}
		return nil
	}
	workbench.Delete[*corev1.Namespace](b, "", "a")
	b.Advance(10 * time.Second)
	ns := workbench.Get[*corev1.Namespace](b, "", "a")
	if c := conditionOf(ns, corev1.NamespaceDeletionContentFailure); c.Status != corev1.ConditionTrue {
		t.Fatalf("condition %+v", c)
	}
	if _, ok := workbench.Find[*corev1.Secret](b, "a", "s"); ok {
		t.Fatal("one kind that fails must not keep the others")
	}
	b.API.Fail = nil
	b.Advance(2 * time.Minute)
	if _, ok := workbench.Find[*corev1.Namespace](b, "", "a"); ok {
		t.Fatal("the namespace is still there")
	}
}

func TestLeavesOtherFinalizersOfTheNamespace(t *testing.T) {
	ns := space("c")
	ns.Spec.Finalizers = append(ns.Spec.Finalizers, "example.com/other")
	b := bench(t, ns)
	workbench.Delete[*corev1.Namespace](b, "", "c")
	b.Advance(time.Minute)
	got := workbench.Get[*corev1.Namespace](b, "", "c")
	if len(got.Spec.Finalizers) != 1 || got.Spec.Finalizers[0] != "example.com/other" {
		t.Fatalf("finalizers %v", got.Spec.Finalizers)
	}
}
