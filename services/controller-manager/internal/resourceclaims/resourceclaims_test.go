package resourceclaims

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func pod() *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: workbench.Meta("p"), Spec: corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: ptr.To("t")}}}}
	p.UID = "pod-uid"
	return p
}

func template() *resourcev1.ResourceClaimTemplate {
	t := &resourcev1.ResourceClaimTemplate{ObjectMeta: workbench.Meta("t")}
	t.Spec.Labels = map[string]string{"a": "b"}
	return t
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	return b.Add(New(b.Deps())...)
}

func TestMakesClaimsFromTemplates(t *testing.T) {
	b := bench(t, pod(), template())
	b.Advance(time.Minute)
	all := workbench.All[*resourcev1.ResourceClaim](b, "default")
	if len(all) != 1 {
		t.Fatalf("%d claims", len(all))
	}
	c := all[0]
	if !strings.HasPrefix(c.Name, "p-gpu-") || !metav1.IsControlledBy(c, pod()) || c.Annotations[resourcev1.PodResourceClaimAnnotation] != "gpu" || c.Labels["a"] != "b" {
		t.Fatalf("claim %+v", c.ObjectMeta)
	}
	if s := workbench.Get[*corev1.Pod](b, "default", "p").Status.ResourceClaimStatuses; len(s) != 1 || s[0].Name != "gpu" || ptr.Deref(s[0].ResourceClaimName, "") != c.Name {
		t.Fatalf("statuses %v", s)
	}
	b.API.Calls()
	b.Advance(time.Hour)
	if calls := b.API.Calls(); len(calls) > 0 {
		t.Fatalf("at rest: %v", calls)
	}
}

func TestWaitsForTheTemplate(t *testing.T) {
	b := bench(t, pod())
	b.Settle()
	if e := b.API.Events(); len(e) == 0 || e[0].Reason != "FailedResourceClaimCreation" || !strings.Contains(e[0].Message, `resource claim template "t"`) {
		t.Fatalf("events %v", e)
	}
	b.API.Seed(template())
	b.Advance(time.Second)
	if n := len(workbench.All[*resourcev1.ResourceClaim](b, "default")); n != 1 {
		t.Fatalf("%d claims", n)
	}
}

func TestReservesForPlacedPods(t *testing.T) {
	p := pod()
	p.Spec.NodeName = "n"
	p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: ptr.To("c")}}
	c := &resourcev1.ResourceClaim{ObjectMeta: workbench.Meta("c"), Status: resourcev1.ResourceClaimStatus{Allocation: &resourcev1.AllocationResult{}}}
	b := bench(t, p, c)
	b.Settle()
	if r := workbench.Get[*resourcev1.ResourceClaim](b, "default", "c").Status.ReservedFor; len(r) != 1 || r[0].UID != "pod-uid" || r[0].Resource != "pods" {
		t.Fatalf("reserved for %v", r)
	}
}

func TestTakesBackWhatEndedPodsHeld(t *testing.T) {
	for name, end := range map[string]func(*workbench.Bench){
		"ended": func(b *workbench.Bench) {
			workbench.Change(b, "default", "p", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
		},
		"deleted": func(b *workbench.Bench) { workbench.Delete[*corev1.Pod](b, "default", "p") },
	} {
		b := bench(t, pod(), template())
		b.Settle()
		made := workbench.All[*resourcev1.ResourceClaim](b, "default")[0].Name
		workbench.Change(b, "default", made, func(c *resourcev1.ResourceClaim) {
			c.Finalizers = []string{resourcev1.Finalizer}
			c.Status.Allocation = &resourcev1.AllocationResult{}
			c.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "p", UID: "pod-uid"}}
		})
		b.Settle()
		end(b)
		b.Advance(time.Minute)
		c, ok := workbench.Find[*resourcev1.ResourceClaim](b, "default", made)
		if ok && (len(c.Status.ReservedFor) > 0 || c.Status.Allocation != nil || len(c.Finalizers) > 0) {
			t.Errorf("%s: claim %+v %+v", name, c.Finalizers, c.Status)
		}
		if name == "ended" && ok {
			t.Errorf("%s: the claim is still there", name)
		}
	}
}
