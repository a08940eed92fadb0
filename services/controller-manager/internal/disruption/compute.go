package disruption

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// deletionTimeout is how long an eviction that was allowed may take to show as
// a deletion.
const deletionTimeout = 2 * time.Minute

func compute(s state, now time.Time) plan.Plan {
	var p plan.Plan
	b := s.Budget
	if len(s.Pods) == 0 {
		p.Add(plan.Event{About: b, Type: corev1.EventTypeNormal, Reason: "NoPods", Message: "No matching pods found"})
	}
	expected, desired, unmanaged, err := s.expect()
	if err != nil {
		p.Add(plan.Event{
			About: b, Type: corev1.EventTypeWarning, Reason: "CalculateExpectedPodCountFailed",
			Message: fmt.Sprintf("Failed to calculate the number of expected pods: %v", err),
		})
		p.Add(s.fail(err, now)...)
		return p
	}
	if unmanaged {
		p.Add(plan.Event{
			About: b, Type: corev1.EventTypeWarning, Reason: "UnmanagedPods",
			Message: fmt.Sprintf("Pods selected by this PodDisruptionBudget (selector: %v) were found to be unmanaged. "+
				"As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
				"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", b.Spec.Selector),
		})
	}
	pending := s.pending(&p, now)
	healthy := pods.Count(s.Pods, func(pod *corev1.Pod) bool {
		_, going := pending[pod.Name]
		return pod.DeletionTimestamp == nil && !going && pods.Ready(pod)
	})
	allowed := max(0, healthy-desired)
	if expected <= 0 {
		// A budget without pods allows nothing, for when its first ones come.
		allowed = 0
	}
	next := b.DeepCopy()
	next.Status = policyv1.PodDisruptionBudgetStatus{
		CurrentHealthy: healthy, DesiredHealthy: desired, ExpectedPods: expected,
		DisruptionsAllowed: allowed, DisruptedPods: pending, ObservedGeneration: b.Generation, Conditions: next.Status.Conditions,
	}
	setCondition(next, allowed > 0, "", now)
	if !apiequality.Semantic.DeepEqual(next.Status, b.Status) {
		p.Add(plan.UpdateStatus(next))
	}
	return p
}

func setCondition(b *policyv1.PodDisruptionBudget, allowed bool, failure string, now time.Time) {
	c := metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
		ObservedGeneration: b.Status.ObservedGeneration, LastTransitionTime: metav1.NewTime(now),
	}
	switch {
	case failure != "":
		c.Reason, c.Message = policyv1.SyncFailedReason, failure
	case allowed:
		c.Status, c.Reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
	}
	meta.SetStatusCondition(&b.Status.Conditions, c)
}

// fail allows nothing while nobody knows what may be allowed.
func (s state) fail(why error, now time.Time) []plan.Action {
	next := s.Budget.DeepCopy()
	next.Status.DisruptionsAllowed = 0
	setCondition(next, false, why.Error(), now)
	if apiequality.Semantic.DeepEqual(next.Status, s.Budget.Status) {
		return nil
	}
	return []plan.Action{plan.UpdateStatus(next)}
}

// expect is how many pods there should be, and how many of them healthy.
func (s state) expect() (expected, desired int32, unmanaged bool, err error) {
	spec := s.Budget.Spec
	least := spec.MinAvailable
	switch {
	case spec.MaxUnavailable == nil && least == nil:
		return 0, 0, false, nil
	case spec.MaxUnavailable == nil && least.Type == intstr.Int:
		return int32(len(s.Pods)), least.IntVal, false, nil
	}
	if expected, unmanaged, err = s.scale(); err != nil {
		return 0, 0, false, err
	}
	if spec.MaxUnavailable != nil {
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, int(expected), true)
		return expected, max(0, expected-int32(n)), unmanaged, err
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(least, int(expected), true)
	return expected, int32(n), unmanaged, err
}

// scale adds up what the controllers of the pods want.
func (s state) scale() (n int32, unmanaged bool, err error) {
	counted := map[types.UID]bool{}
	for _, p := range s.Pods {
		if metav1.GetControllerOfNoCopy(p) == nil {
			unmanaged = true
			continue
		}
		uid, ok := s.Of[p.Name]
		if !ok {
			return 0, false, fmt.Errorf("found no controllers for pod %q", p.Name)
		}
		if !counted[uid] {
			counted[uid] = true
			n += s.Scales[uid]
		}
	}
	return n, unmanaged, nil
}

// pending is the pods whose eviction was allowed and has not begun. Those that
// should have gone long ago are counted again.
func (s state) pending(p *plan.Plan, now time.Time) map[string]metav1.Time {
	out := map[string]metav1.Time{}
	for _, pod := range s.Pods {
		at, ok := s.Budget.Status.DisruptedPods[pod.Name]
		if !ok || pod.DeletionTimestamp != nil {
			continue
		}
		if left := at.Add(deletionTimeout).Sub(now); left >= 0 {
			out[pod.Name] = at
			p.Again(left + time.Millisecond)
			continue
		}
		p.Add(plan.Event{
			About: pod, Type: corev1.EventTypeWarning, Reason: "NotDeleted",
			Message: fmt.Sprintf("Pod was expected by PDB %s/%s to be deleted but it wasn't", s.Budget.Namespace, s.Budget.Name),
		})
	}
	return out
}
