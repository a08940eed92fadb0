package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/auth/references"
)

// alwaysPullImages keeps a pod from using an image that only another pod's
// pull secret gave access to.
type alwaysPullImages struct{}

func (alwaysPullImages) Admit(_ context.Context, a *Attributes) error {
	pod := newImages(a)
	if pod == nil {
		return nil
	}
	for c := range references.Containers(&pod.Spec) {
		c.ImagePullPolicy = corev1.PullAlways
	}
	for i := range pod.Spec.Volumes {
		if v := pod.Spec.Volumes[i].Image; v != nil {
			v.PullPolicy = corev1.PullAlways
		}
	}
	return nil
}

func (alwaysPullImages) Validate(_ context.Context, a *Attributes) error {
	pod := newImages(a)
	if pod == nil {
		return nil
	}
	var errs []error
	check := func(path *field.Path, policy corev1.PullPolicy) {
		if policy != corev1.PullAlways {
			errs = append(errs, forbidden(a, field.NotSupported(path, policy, []string{string(corev1.PullAlways)})))
		}
	}
	spec := field.NewPath("spec")
	for i := range pod.Spec.InitContainers {
		check(spec.Child("initContainers").Index(i).Child("imagePullPolicy"), pod.Spec.InitContainers[i].ImagePullPolicy)
	}
	for i := range pod.Spec.Containers {
		check(spec.Child("containers").Index(i).Child("imagePullPolicy"), pod.Spec.Containers[i].ImagePullPolicy)
	}
	for i := range pod.Spec.EphemeralContainers {
		check(spec.Child("ephemeralContainers").Index(i).Child("imagePullPolicy"), pod.Spec.EphemeralContainers[i].ImagePullPolicy)
	}
	for i := range pod.Spec.Volumes {
		if v := pod.Spec.Volumes[i].Image; v != nil {
			check(spec.Child("volumes").Index(i).Child("image", "pullPolicy"), v.PullPolicy)
		}
	}
	return utilerrors.NewAggregate(errs)
}

// newImages returns the pod of a request that brings in images; nil for
// others.
func newImages(a *Attributes) *corev1.Pod {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || !a.on("", "pods") || a.Subresource != "" || (a.Operation != Create && a.Operation != Update) {
		return nil
	}
	old, ok := a.Old.(*corev1.Pod)
	if !ok || a.Operation != Update {
		return pod
	}
	known := map[string]bool{}
	for c := range references.Containers(&old.Spec) {
		known[c.Image] = true
	}
	for c := range references.Containers(&pod.Spec) {
		if !known[c.Image] {
			return pod
		}
	}
	return nil
}
