// Package jobs runs Jobs to completion, starts them by CronJobs and deletes
// them when they have been finished for long enough.
package jobs

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// family is a Job and its pods.
type family = owner.Family[*batchv1.Job, *corev1.Pod]

// gather is how long changes of pods are gathered, for Jobs of many pods.
const gather = 100 * time.Millisecond

func selector(j *batchv1.Job) labels.Selector { return owner.Selector(j.Spec.Selector) }

// New is job-controller, in two loops: the Jobs, and pods whose Job went
// without taking its finalizer off them.
func New(d loop.Deps) []loop.Loop {
	of := owner.New[*batchv1.Job, *corev1.Pod](d.API, selector)
	sources := of.Sources()
	sources[1].Delay = gather
	jobs := loop.New(d, loop.Spec[loop.Key, family]{
		Name: "job-controller", Sources: sources, First: time.Second, Longest: time.Minute,
		Observe: func(k loop.Key, _ time.Time) (family, bool) { return of.Observe(k) },
		Compute: compute,
	})
	orphans := loop.New(d, loop.Spec[loop.Key, *corev1.Pod]{
		Name: "job-controller", Part: "orphans",
		Sources: []loop.Source[loop.Key]{
			{Cache: of.Children, Keys: func(before, after kinds.Object) []loop.Key {
				if p, ok := after.(*corev1.Pod); ok && abandoned(of.Controllers, p) {
					return owner.Self(before, after)
				}
				return nil
			}},
			{Cache: of.Controllers, Keys: func(before, after kinds.Object) []loop.Key { return left(of.Children, before, after) }},
		},
		Observe: func(k loop.Key, _ time.Time) (*corev1.Pod, bool) {
			p, ok := cluster.Get[*corev1.Pod](of.Children, k.Namespace, k.Name)
			return p, ok && abandoned(of.Controllers, p)
		},
		Compute: release,
	})
	return []loop.Loop{jobs, orphans}
}

// left is the pods of a Job that is gone.
func left(children cluster.Cache, before, after kinds.Object) []loop.Key {
	if after != nil {
		return nil
	}
	var out []loop.Key
	for _, p := range cluster.By[*corev1.Pod](children, cluster.ByController, string(before.GetUID())) {
		out = append(out, loop.Key{Namespace: p.Namespace, Name: p.Name})
	}
	return out
}

func jobRef(p *corev1.Pod) *metav1.OwnerReference {
	if r := metav1.GetControllerOfNoCopy(p); r != nil && r.Kind == "Job" && r.APIVersion == batchv1.SchemeGroupVersion.String() {
		return r
	}
	return nil
}

// abandoned tells whether a pod is tracked and no Job of the cache has it.
func abandoned(jobs cluster.Cache, p *corev1.Pod) bool {
	if !tracked(p) {
		return false
	}
	r := jobRef(p)
	if r == nil {
		return metav1.GetControllerOfNoCopy(p) == nil
	}
	j, ok := cluster.Get[*batchv1.Job](jobs, p.Namespace, r.Name)
	return !ok || j.UID != r.UID
}

// release takes the finalizer off a pod once the API server agrees that it has
// no Job: counted pods would be lost otherwise.
func release(p *corev1.Pod, _ time.Time) plan.Plan {
	remove := plan.Plan{Do: []plan.Action{owner.RemoveFinalizer(p, batchv1.JobTrackingFinalizer)}}
	r := jobRef(p)
	if r == nil {
		return remove
	}
	return plan.Plan{
		Do: []plan.Action{plan.Get{Kind: kinds.For[*batchv1.Job](), Namespace: p.Namespace, Name: r.Name}},
		Then: func(out plan.Outcome) plan.Plan {
			if out.Err != nil || out.Results[0].Object != nil && out.Results[0].Object.GetUID() == r.UID {
				return plan.Plan{}
			}
			return remove
		},
	}
}

func condition(j *batchv1.Job, t batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range j.Status.Conditions {
		if j.Status.Conditions[i].Type == t {
			return &j.Status.Conditions[i]
		}
	}
	return nil
}

func isTrue(c *batchv1.JobCondition) bool { return c != nil && c.Status == corev1.ConditionTrue }

// Finished tells whether a Job has ended, one way or the other.
func Finished(j *batchv1.Job) bool {
	return isTrue(condition(j, batchv1.JobComplete)) || isTrue(condition(j, batchv1.JobFailed))
}

func suspended(j *batchv1.Job) bool { return j.Spec.Suspend != nil && *j.Spec.Suspend }

func managedElsewhere(j *batchv1.Job) bool {
	return j.Spec.ManagedBy != nil && *j.Spec.ManagedBy != batchv1.JobControllerName
}
