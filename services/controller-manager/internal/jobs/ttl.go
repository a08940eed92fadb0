package jobs

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// TTL is ttl-after-finished-controller.
func TTL(d loop.Deps) loop.Loop {
	jobs := cluster.Of[*batchv1.Job](d.API)
	return loop.New(d, loop.Spec[loop.Key, *batchv1.Job]{
		Name: "ttl-after-finished-controller",
		Sources: []loop.Source[loop.Key]{{Cache: jobs, Keys: func(before, after kinds.Object) []loop.Key {
			if j, ok := after.(*batchv1.Job); !ok || !expires(j) {
				return nil
			}
			return owner.Self(before, after)
		}}},
		Observe: func(k loop.Key, _ time.Time) (*batchv1.Job, bool) {
			j, ok := cluster.Get[*batchv1.Job](jobs, k.Namespace, k.Name)
			return j, ok && expires(j)
		},
		Compute: computeTTL,
	})
}

func expires(j *batchv1.Job) bool {
	return j.Spec.TTLSecondsAfterFinished != nil && j.DeletionTimestamp == nil && Finished(j)
}

// remaining is how long a finished Job has left.
func remaining(j *batchv1.Job, now time.Time) time.Duration {
	c := condition(j, batchv1.JobComplete)
	if !isTrue(c) {
		c = condition(j, batchv1.JobFailed)
	}
	return c.LastTransitionTime.Add(time.Duration(*j.Spec.TTLSecondsAfterFinished) * time.Second).Sub(now)
}

func computeTTL(j *batchv1.Job, now time.Time) plan.Plan {
	if d := remaining(j, now); d > 0 {
		return plan.Plan{After: d}
	}
	// The TTL may have been raised at the last moment.
	return plan.Plan{
		Do: []plan.Action{plan.Get{Kind: kinds.ForObject(j), Namespace: j.Namespace, Name: j.Name}},
		Then: func(out plan.Outcome) plan.Plan {
			if out.Err != nil || out.Results[0].Object == nil {
				return plan.Plan{}
			}
			fresh := out.Results[0].Object.(*batchv1.Job)
			if fresh.UID != j.UID || !expires(fresh) || remaining(fresh, now) > 0 {
				return plan.Plan{}
			}
			remove := plan.DeleteOf(fresh)
			remove.Options = metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}
			return plan.Plan{Do: []plan.Action{remove}}
		},
	}
}
