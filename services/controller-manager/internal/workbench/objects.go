package workbench

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

// Template is a pod template with one container and a label.
func Template(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: app}}},
	}
}

// Select is the selector of Template's label.
func Select(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

// Meta is metadata in the namespace default.
func Meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name, Generation: 1}
}

// Delete deletes an object as a user would.
func Delete[T kinds.Object](b *Bench, namespace, name string, policy ...metav1.DeletionPropagation) {
	b.T.Helper()
	var o metav1.DeleteOptions
	if len(policy) > 0 {
		o.PropagationPolicy = &policy[0]
	}
	if err := b.API.Delete(context.Background(), kinds.For[T](), namespace, name, o); err != nil {
		b.T.Fatalf("delete: %v", err)
	}
}
