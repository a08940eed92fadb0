package deployment

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of conditions, as kubectl knows them.
const (
	rsUpdated    = "ReplicaSetUpdated"
	createError  = "ReplicaSetCreateError"
	newRSCreated = "NewReplicaSetCreated"
	foundNewRS   = "FoundNewReplicaSet"
	rsAvailable  = "NewReplicaSetAvailable"
	timedOut     = "ProgressDeadlineExceeded"
	paused       = "DeploymentPaused"
	resumed      = "DeploymentResumed"
)

func condition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

func dropCondition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

// setCondition leaves a condition alone that has the status and reason.
func (r *rollout) setCondition(t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(r.now)
	next := appsv1.DeploymentCondition{Type: t, Status: status, LastUpdateTime: now, LastTransitionTime: now, Reason: reason, Message: message}
	if old := condition(&r.d.Status, t); old != nil && old.Status == status {
		if old.Reason == reason {
			return
		}
		next.LastTransitionTime = old.LastTransitionTime
	}
	dropCondition(&r.d.Status, t)
	r.d.Status.Conditions = append(r.d.Status.Conditions, next)
}

// checkPaused notes a pause and its end, so that the time between does not
// count as lack of progress.
func (r *rollout) checkPaused() {
	c := condition(&r.d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(r.d) || c != nil && c.Reason == timedOut {
		return
	}
	noted := c != nil && c.Reason == paused
	switch {
	case r.d.Spec.Paused && !noted:
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, paused, "Deployment is paused")
	case !r.d.Spec.Paused && noted:
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, resumed, "Deployment is resumed")
	}
}

// syncStatus counts what the sets report.
func (r *rollout) syncStatus() {
	s := &r.d.Status
	s.ObservedGeneration = r.d.Generation
	s.Replicas = sum(r.sets, actual)
	s.UpdatedReplicas = 0
	if r.fresh != nil {
		s.UpdatedReplicas = actual(r.fresh)
	}
	s.ReadyReplicas = sum(r.sets, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.ReadyReplicas })
	s.AvailableReplicas = sum(r.sets, available)
	s.UnavailableReplicas = max(0, sum(r.sets, size)-s.AvailableReplicas)
	s.TerminatingReplicas = terminating(r.sets)
	if s.AvailableReplicas >= r.replicas()-maxUnavailable(r.d) {
		r.setCondition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.")
	} else {
		r.setCondition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
	}
}

// terminating is nil while some set does not report it.
func terminating(sets []*appsv1.ReplicaSet) *int32 {
	n := int32(0)
	for _, rs := range sets {
		switch {
		case rs.Status.TerminatingReplicas != nil:
			n += *rs.Status.TerminatingReplicas
		case rs.Status.ObservedGeneration != 0:
			return nil
		}
	}
	return &n
}

// complete tells whether all pods are of the present template and available.
func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	n := int32(1)
	if d.Spec.Replicas != nil {
		n = *d.Spec.Replicas
	}
	return s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n && s.ObservedGeneration >= d.Generation
}

// rolloutStatus is syncStatus with an account of the rollout's progress.
func (r *rollout) rolloutStatus() {
	r.syncStatus()
	s := &r.d.Status
	if hasDeadline(r.d) {
		r.progress()
	} else {
		dropCondition(s, appsv1.DeploymentProgressing)
	}
	if c := r.replicaFailure(); c == nil {
		dropCondition(s, appsv1.DeploymentReplicaFailure)
	} else if old := condition(s, appsv1.DeploymentReplicaFailure); old == nil || old.Status != c.Status || old.Reason != c.Reason {
		dropCondition(s, appsv1.DeploymentReplicaFailure)
		s.Conditions = append(s.Conditions, appsv1.DeploymentCondition{
			Type: appsv1.DeploymentReplicaFailure, Status: c.Status,
			LastUpdateTime: c.LastTransitionTime, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	if len(r.changed) == 0 && len(r.status()) == 0 {
		r.lookAgain()
	}
}

func (r *rollout) progress() {
	s := &r.d.Status
	c := condition(s, appsv1.DeploymentProgressing)
	if s.Replicas == s.UpdatedReplicas && c != nil && c.Reason == rsAvailable {
		return // nothing is being rolled out
	}
	what := fmt.Sprintf("Deployment %q", r.d.Name)
	if r.fresh != nil {
		what = fmt.Sprintf("ReplicaSet %q", r.fresh.Name)
	}
	switch {
	case complete(r.d, s):
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, rsAvailable, what+" has successfully progressed.")
	case progressed(&r.Self.Status, s):
		// Each bit of progress moves the time, though nothing else may change.
		next := appsv1.DeploymentCondition{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: rsUpdated,
			Message: what + " is progressing.", LastUpdateTime: metav1.NewTime(r.now), LastTransitionTime: metav1.NewTime(r.now),
		}
		if c != nil && c.Status == corev1.ConditionTrue {
			next.LastTransitionTime = c.LastTransitionTime
		}
		dropCondition(s, appsv1.DeploymentProgressing)
		s.Conditions = append(s.Conditions, next)
	case c != nil && c.Reason != rsAvailable && (c.Reason == timedOut || r.deadline(c).Before(r.now)):
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, timedOut, what+" has timed out progressing.")
	}
}

func (r *rollout) deadline(c *appsv1.DeploymentCondition) time.Time {
	return c.LastUpdateTime.Add(time.Duration(*r.d.Spec.ProgressDeadlineSeconds) * time.Second)
}

func progressed(before, after *appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas || after.AvailableReplicas > before.AvailableReplicas
}

// replicaFailure is why pods cannot be created, of the fresh set if it says.
func (r *rollout) replicaFailure() *appsv1.ReplicaSetCondition {
	sets := r.sets
	if r.fresh != nil {
		sets = append([]*appsv1.ReplicaSet{r.fresh}, r.old...)
	}
	for _, rs := range sets {
		for i := range rs.Status.Conditions {
			if rs.Status.Conditions[i].Type == appsv1.ReplicaSetReplicaFailure {
				return &rs.Status.Conditions[i]
			}
		}
	}
	return nil
}

// lookAgain asks for a look just after the deadline, when nothing else would
// tell that there was no progress.
func (r *rollout) lookAgain() {
	c := condition(&r.d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(r.d) || c == nil || complete(r.d, &r.d.Status) || c.Reason == timedOut {
		return
	}
	r.after = max(0, r.deadline(c).Sub(r.now)) + time.Second
}
