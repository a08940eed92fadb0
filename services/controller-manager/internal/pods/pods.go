// Package pods answers what controllers ask of pods: whether they count, since
// when, and which to delete first.
package pods

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"coracle.local/libs/kinds"
)

// Condition finds a condition of a pod, nil if it has none.
func Condition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// Ready tells whether a pod is ready to serve.
func Ready(p *corev1.Pod) bool {
	c := Condition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// Finished tells whether all of a pod's containers have ended for good.
func Finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Active tells whether a pod counts as a replica.
func Active(p *corev1.Pod) bool { return !Finished(p) && p.DeletionTimestamp == nil }

// Terminating tells whether a pod is being deleted and still runs.
func Terminating(p *corev1.Pod) bool { return !Finished(p) && p.DeletionTimestamp != nil }

// Available tells whether a pod has been ready for at least minReadySeconds.
func Available(p *corev1.Pod, minReadySeconds int32, now time.Time) bool {
	if !Ready(p) {
		return false
	}
	since := Condition(p, corev1.PodReady).LastTransitionTime
	return minReadySeconds == 0 || !since.IsZero() && !now.Before(since.Add(seconds(minReadySeconds)))
}

// NextAvailable is how long until the first of the pods that are ready but not
// available becomes so; zero if there is none.
func NextAvailable(pods []*corev1.Pod, minReadySeconds int32, now time.Time) time.Duration {
	var next time.Duration
	for _, p := range pods {
		if minReadySeconds <= 0 || !Ready(p) || Available(p, minReadySeconds, now) {
			continue
		}
		d := seconds(minReadySeconds)
		if since := Condition(p, corev1.PodReady).LastTransitionTime; !since.IsZero() {
			d = since.Add(d).Sub(now)
		}
		if next == 0 || d < next {
			next = d
		}
	}
	return next
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// Filter returns the pods that keep is true for.
func Filter(pods []*corev1.Pod, keep func(*corev1.Pod) bool) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range pods {
		if keep(p) {
			out = append(out, p)
		}
	}
	return out
}

// Count counts the pods that keep is true for.
func Count(pods []*corev1.Pod, keep func(*corev1.Pod) bool) int32 {
	var n int32
	for _, p := range pods {
		if keep(p) {
			n++
		}
	}
	return n
}

// FromTemplate is a new pod of a controller's template.
func FromTemplate(t *corev1.PodTemplateSpec, controller kinds.Object) *corev1.Pod {
	t = t.DeepCopy()
	k := kinds.ForObject(controller)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: controller.GetNamespace(), GenerateName: Prefix(controller.GetName()),
			Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(controller, k.GroupVersionKind())},
		},
		Spec: t.Spec,
	}
}

// Prefix is the generateName of the pods of a controller.
func Prefix(controller string) string {
	if len(validation.NameIsDNSSubdomain(controller+"-", true)) > 0 {
		return controller
	}
	return controller + "-"
}

// SetCondition sets a condition in a status and tells whether that changed
// anything; the time of transition moves with the status only.
func SetCondition(s *corev1.PodStatus, c corev1.PodCondition) bool {
	for i := range s.Conditions {
		old := &s.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		changed := *old != c
		*old = c
		return changed
	}
	s.Conditions = append(s.Conditions, c)
	return true
}

// Claims is the names of the claims that a pod's volumes name.
func Claims(p *corev1.Pod) []string {
	var out []string
	for i := range p.Spec.Volumes {
		switch v := &p.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			out = append(out, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			out = append(out, ephemeral.VolumeClaimName(p, v))
		}
	}
	return out
}
