package deployment

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// setName is the name of the ReplicaSet of the present template.
func setName(d *appsv1.Deployment) string {
	suffix := "-" + pods.TemplateHash(&d.Spec.Template, d.Status.CollisionCount)
	return d.Name[:min(len(d.Name), validation.DNS1123SubdomainMaxLength-len(suffix))] + suffix
}

// syncNew brings the annotations of the fresh set, and with them the revision
// of the Deployment, up to date.
func (r *rollout) syncNew() {
	rs := r.fresh
	if rs == nil {
		return
	}
	if setNewAnnotations(r.d, rs, maxRevision(r.old)+1) || rs.Spec.MinReadySeconds != r.d.Spec.MinReadySeconds {
		rs.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
		r.change(rs)
	}
	r.setRevision(rs.Annotations[revisionAnnotation])
	if hasDeadline(r.d) && condition(&r.d.Status, appsv1.DeploymentProgressing) == nil {
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, foundNewRS, fmt.Sprintf("Found new replica set %q", rs.Name))
	}
}

func (r *rollout) setRevision(revision string) {
	if revision == "" || r.d.Annotations[revisionAnnotation] == revision {
		return
	}
	r.d.Annotations = maps.Clone(r.d.Annotations)
	if r.d.Annotations == nil {
		r.d.Annotations = map[string]string{}
	}
	r.d.Annotations[revisionAnnotation] = revision
}

// create makes the set of the present template, and waits for it to be seen.
func (r *rollout) create() plan.Plan {
	h := pods.TemplateHash(&r.d.Spec.Template, r.d.Status.CollisionCount)
	t := r.d.Spec.Template.DeepCopy()
	t.Labels = with(t.Labels, appsv1.DefaultDeploymentUniqueLabelKey, h)
	s := r.d.Spec.Selector.DeepCopy()
	s.MatchLabels = with(s.MatchLabels, appsv1.DefaultDeploymentUniqueLabelKey, h)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.d.Namespace, Name: setName(r.d), Labels: t.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r.d, kinds.ForObject(r.d).GroupVersionKind())},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](0), MinReadySeconds: r.d.Spec.MinReadySeconds, Selector: s, Template: *t},
	}
	n := r.newSize(rs)
	rs.Spec.Replicas = &n
	next := strconv.FormatInt(maxRevision(r.old)+1, 10)
	setNewAnnotations(r.d, rs, maxRevision(r.old)+1)
	setReplicasAnnotations(rs, r.replicas(), r.replicas()+maxSurge(r.d))
	create := plan.Create{Object: rs, MayExist: true}
	if n > 0 {
		create.Say = plan.Say{About: r.d, Done: plan.Note{Reason: "ScalingReplicaSet", Format: fmt.Sprintf("Scaled up replica set %%s from 0 to %d", n)}}
	}
	return plan.Plan{Do: []plan.Action{create}, Then: func(out plan.Outcome) plan.Plan { return r.created(rs, next, out) }}
}

func with(labels map[string]string, k, v string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[k] = v
	return out
}

// created notes in the status what became of the creation.
func (r *rollout) created(rs *appsv1.ReplicaSet, revision string, out plan.Outcome) plan.Plan {
	switch made := out.Results[0]; {
	case made.Existed:
		get := plan.Get{Kind: kinds.ForObject(rs), Namespace: rs.Namespace, Name: rs.Name}
		return plan.Plan{Do: []plan.Action{get}, Then: r.collided}
	case made.Skipped:
		return plan.Plan{} // the namespace is ending
	case out.Err == nil:
		r.setRevision(revision)
		if hasDeadline(r.d) {
			r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, newRSCreated, fmt.Sprintf("Created new replica set %q", rs.Name))
		}
	default:
		message := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, plan.Cause(out.Err))
		if hasDeadline(r.d) {
			r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, createError, message)
		}
		return plan.Plan{Do: append(r.status(), plan.Event{About: r.d, Type: corev1.EventTypeWarning, Reason: createError, Message: message})}
	}
	return plan.Plan{Do: r.status()}
}

// collided looks at the set that has the name of the one to be created.
func (r *rollout) collided(out plan.Outcome) plan.Plan {
	if out.Err != nil {
		return plan.Plan{}
	}
	rs, ok := out.Results[0].Object.(*appsv1.ReplicaSet)
	if !ok || metav1.IsControlledBy(rs, r.d) && sameTemplate(&rs.Spec.Template, &r.d.Spec.Template) {
		// It is gone again, or is our own and the cache was behind.
		return plan.Plan{After: time.Second}
	}
	// Another template has the same hash, or another owner the name.
	r.d.Status.CollisionCount = ptr.To(ptr.Deref(r.d.Status.CollisionCount, 0) + 1)
	return plan.Plan{Do: r.status()}
}
