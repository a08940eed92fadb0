package volumes

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/controller-manager/internal/workbench"
)

func podWithScratch() *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: workbench.Meta("p"), Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
			VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
				Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}},
			},
		}}},
		{Name: "other"},
	}}}
	p.UID = "pod-uid"
	return p
}

func TestMakesClaimsOfPods(t *testing.T) {
	b := workbench.New(t, podWithScratch())
	b.Add(Ephemeral(b.Deps()))
	b.Settle()
	c := workbench.Get[*corev1.PersistentVolumeClaim](b, "default", "p-scratch")
	if !metav1.IsControlledBy(c, podWithScratch()) || c.Labels["a"] != "b" || len(c.Spec.AccessModes) != 1 {
		t.Fatalf("claim %+v", c)
	}
	workbench.Delete[*corev1.PersistentVolumeClaim](b, "default", "p-scratch")
	b.Settle()
	workbench.Get[*corev1.PersistentVolumeClaim](b, "default", "p-scratch") // it is needed still
}

func TestLeavesClaimsOfOthers(t *testing.T) {
	b := workbench.New(t, podWithScratch(), &corev1.PersistentVolumeClaim{ObjectMeta: workbench.Meta("p-scratch")})
	b.Add(Ephemeral(b.Deps()))
	b.Settle()
	if e := b.API.Events(); len(e) == 0 || e[0].Reason != "FailedBinding" || !strings.Contains(e[0].Message, "ephemeral volume scratch: PVC default/p-scratch was not created for pod default/p (pod is not owner)") {
		t.Fatalf("events %v", e)
	}
}
