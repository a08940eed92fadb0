package protection

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// byReference is the index of pods by the claims that their volumes name.
const byReference = "unused-claim"

// references is the claims that the volumes of a pod name, whether or not it
// has a node.
func references(o any) []loop.Key {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return nil
	}
	var out []loop.Key
	for _, name := range pods.Claims(p) {
		out = append(out, loop.Key{Namespace: p.Namespace, Name: name})
	}
	return out
}

// refers tells whether a pod that has not ended names a claim, its own one if
// it is an ephemeral volume's.
func refers(p *corev1.Pod, c *corev1.PersistentVolumeClaim) bool {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return false
	}
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == c.Name ||
			v.Ephemeral != nil && ephemeral.VolumeClaimName(p, &v) == c.Name && ephemeral.VolumeIsForPod(p, c) == nil
	})
}

// Unused is the part of persistentvolumeclaim-protection-controller that notes
// in bound claims since when no pod refers to them.
func Unused(d loop.Deps) loop.Loop {
	claims, pods := cluster.Of[*corev1.PersistentVolumeClaim](d.API), cluster.Of[*corev1.Pod](d.API)
	pods.Index(byReference, func(v any) ([]string, error) {
		var out []string
		for _, k := range references(v) {
			out = append(out, k.String())
		}
		return out, nil
	})
	return loop.New(d, loop.Spec[loop.Key, state[*corev1.PersistentVolumeClaim]]{
		Name: "persistentvolumeclaim-protection-controller", Part: "unused",
		Sources: []loop.Source[loop.Key]{
			{Cache: claims, Keys: func(_, after kinds.Object) []loop.Key {
				if c, ok := after.(*corev1.PersistentVolumeClaim); !ok || c.Status.Phase != corev1.ClaimBound || unusedCondition(c) != nil {
					return nil
				}
				return owner.Self(nil, after)
			}},
			{Cache: pods, Keys: func(before, after kinds.Object) []loop.Key {
				return append(references(before), references(after)...)
			}},
		},
		Observe: func(k loop.Key, _ time.Time) (state[*corev1.PersistentVolumeClaim], bool) {
			c, ok := cluster.Get[*corev1.PersistentVolumeClaim](claims, k.Namespace, k.Name)
			if !ok || c.DeletionTimestamp != nil || c.Status.Phase != corev1.ClaimBound {
				return state[*corev1.PersistentVolumeClaim]{}, false
			}
			used := len(cluster.By(pods, byReference, k.String(), func(p *corev1.Pod) bool { return refers(p, c) })) > 0
			return state[*corev1.PersistentVolumeClaim]{Self: c, Used: used}, true
		},
		Compute: noteUse,
	})
}

func unusedCondition(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaimCondition {
	for i := range c.Status.Conditions {
		if c.Status.Conditions[i].Type == corev1.PersistentVolumeClaimUnused {
			return &c.Status.Conditions[i]
		}
	}
	return nil
}

func noteUse(s state[*corev1.PersistentVolumeClaim], now time.Time) plan.Plan {
	want := corev1.PersistentVolumeClaimCondition{
		Type: corev1.PersistentVolumeClaimUnused, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now),
		Reason: "NoPodsUsingPVC", Message: "No pods are currently referencing this PVC",
	}
	if s.Used {
		want.Status, want.Reason, want.Message = corev1.ConditionFalse, "PodUsingPVC", "A pod is currently referencing this PVC"
	}
	old := unusedCondition(s.Self)
	if old != nil && old.Status == want.Status {
		return plan.Plan{}
	}
	c := s.Self.DeepCopy()
	if old == nil {
		c.Status.Conditions = append(c.Status.Conditions, want)
	} else {
		*unusedCondition(c) = want
	}
	return plan.Plan{Do: []plan.Action{plan.Update{Object: c, Subresource: "status", MayMiss: true}}}
}
