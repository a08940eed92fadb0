package protection

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/controller-manager/internal/workbench"
)

func TestNotesUse(t *testing.T) {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: workbench.Meta("c"), Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
	pending := &corev1.PersistentVolumeClaim{ObjectMeta: workbench.Meta("pending"), Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}
	b := workbench.New(t, c, pending)
	b.Add(Unused(b.Deps()))
	check := func(want corev1.ConditionStatus, reason string) {
		t.Helper()
		b.Settle()
		got := unusedCondition(workbench.Get[*corev1.PersistentVolumeClaim](b, "default", "c"))
		if got == nil || got.Status != want || got.Reason != reason {
			t.Fatalf("condition %+v", got)
		}
	}
	check(corev1.ConditionTrue, "NoPodsUsingPVC")
	b.API.Seed(&corev1.Pod{ObjectMeta: workbench.Meta("p"), Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}},
	}}})
	check(corev1.ConditionFalse, "PodUsingPVC")
	workbench.Change(b, "default", "p", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	check(corev1.ConditionTrue, "NoPodsUsingPVC")
	if got := unusedCondition(workbench.Get[*corev1.PersistentVolumeClaim](b, "default", "pending")); got != nil {
		t.Fatalf("of a claim that is not bound: %+v", got)
	}
}
