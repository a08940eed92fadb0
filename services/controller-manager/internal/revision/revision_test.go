package revision

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// What upstream 1.37's history.HashControllerRevision makes of the data.
func TestHashIsUpstreams(t *testing.T) {
	data := []byte(`{"spec":{"template":{"$patch":"replace"}}}`)
	if got := Hash(data, nil); got != "5c7586484" {
		t.Errorf("hash %s", got)
	}
	if got := Hash(data, ptr.To[int32](3)); got != "589f85db5f" {
		t.Errorf("hash after 3 collisions %s", got)
	}
	if got := Name("web", "5c7586484"); got != "web-5c7586484" {
		t.Errorf("name %s", got)
	}
}

func TestApplyRestoresTheTemplateAlone(t *testing.T) {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s"}, Spec: appsv1.StatefulSetSpec{
		Replicas: ptr.To[int32](1),
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "old", Image: "1"}}, Volumes: []corev1.Volume{{Name: "v"}}}},
	}}
	r, err := New(set, map[string]string{"app": "s"}, 1, func(data []byte) string { return Hash(data, nil) }, HashLabel)
	if err != nil {
		t.Fatal(err)
	}
	if r.Labels["app"] != "s" || r.Labels[HashLabel] == "" || metav1.GetControllerOf(r).Name != "s" {
		t.Fatalf("revision %+v", r)
	}
	later := set.DeepCopy()
	later.Spec.Replicas = ptr.To[int32](5)
	later.Spec.Template = corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "new", Image: "2"}}}}
	got, err := Apply(later, r)
	if err != nil {
		t.Fatal(err)
	}
	if c := got.Spec.Template.Spec.Containers; len(c) != 1 || c[0].Name != "old" || *got.Spec.Replicas != 5 || len(got.Spec.Template.Spec.Volumes) != 1 {
		t.Fatalf("spec %+v", got.Spec)
	}
}
