package quotas

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"coracle.local/libs/quota"
	"coracle.local/services/controller-manager/internal/plan"
)

const (
	// settling is how long an object may take from its charge until it shows
	// in the caches.
	settling = 200 * time.Millisecond
	// patience is how long a namespace in which there is always something new
	// waits for what it has given back.
	patience = 2 * time.Second
)

// state is a quota and the objects that it limits.
type state struct {
	Quota  *corev1.ResourceQuota
	Counts []count
	World  quota.World
	// Quiet is how long usage is not to be lowered.
	Quiet time.Duration
}

// count is the objects of a kind in the quota's namespace.
type count struct {
	Evaluator *quota.Evaluator
	Objects   []quota.Object
}

func compute(s state, _ time.Time, resync time.Duration) plan.Plan {
	p := plan.Plan{After: resync}
	used := usage(s)
	hard := s.Quota.Spec.Hard
	first := !apiequality.Semantic.DeepEqual(hard, s.Quota.Status.Hard) || s.Quota.Status.Hard == nil || s.Quota.Status.Used == nil
	if !first && quota.Equal(used, s.Quota.Status.Used) {
		return p
	}
	if !first && s.Quiet > 0 && lower(used, s.Quota.Status.Used) {
		p.Again(s.Quiet)
		return p
	}
	q := s.Quota.DeepCopy()
	q.Status = corev1.ResourceQuotaStatus{Hard: hard.DeepCopy(), Used: used}
	if q.Status.Hard == nil {
		q.Status.Hard = corev1.ResourceList{}
	}
	p.Add(plan.UpdateStatus(q))
	return p
}

// usage is what the objects take of the quota's resources. Of resources that
// nobody here can count, what was known stays.
func usage(s state) corev1.ResourceList {
	names := quota.Names(s.Quota.Spec.Hard)
	used := quota.Only(s.Quota.Status.Used, names)
	counted := corev1.ResourceList{}
	for _, c := range s.Counts {
		mine := c.Evaluator.Names(names, s.World)
		for _, name := range mine {
			if _, ok := counted[name]; !ok {
				counted[name] = resource.Quantity{Format: resource.DecimalSI}
			}
		}
		for _, o := range c.Objects {
			if c.Evaluator.Within(s.Quota, o) {
				counted = quota.Add(counted, quota.Only(c.Evaluator.Usage(o, s.World), mine))
			}
		}
	}
	for name, x := range counted {
		used[name] = x
	}
	return used
}

func lower(a, b corev1.ResourceList) bool {
	for name, x := range a {
		if y, ok := b[name]; ok && x.Cmp(y) < 0 {
			return true
		}
	}
	return false
}
