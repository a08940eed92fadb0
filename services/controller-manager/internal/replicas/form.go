// Package replicas keeps as many pods as ReplicaSets and
// ReplicationControllers ask for.
package replicas

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/owner"
)

// form is how a kind of controller says what a ReplicaSet says.
type form[C kinds.Object] struct {
	selector func(C) labels.Selector
	spec     func(C) spec
	status   func(C) *appsv1.ReplicaSetStatus
	// with returns a copy that has the status.
	with func(C, *appsv1.ReplicaSetStatus) C
	// terminating says that the status counts terminating pods.
	terminating bool
}

type spec struct {
	replicas, minReadySeconds int32
	template                  *corev1.PodTemplateSpec
}

var replicaSets = form[*appsv1.ReplicaSet]{
	selector: func(rs *appsv1.ReplicaSet) labels.Selector { return owner.Selector(rs.Spec.Selector) },
	spec: func(rs *appsv1.ReplicaSet) spec {
		return spec{ptr.Deref(rs.Spec.Replicas, 1), rs.Spec.MinReadySeconds, &rs.Spec.Template}
	},
	status: func(rs *appsv1.ReplicaSet) *appsv1.ReplicaSetStatus { return &rs.Status },
	with: func(rs *appsv1.ReplicaSet, s *appsv1.ReplicaSetStatus) *appsv1.ReplicaSet {
		rs = rs.DeepCopy()
		rs.Status = *s
		return rs
	},
	terminating: true,
}

var replicationControllers = form[*corev1.ReplicationController]{
	selector: func(rc *corev1.ReplicationController) labels.Selector {
		if len(rc.Spec.Selector) == 0 {
			return labels.Nothing()
		}
		return labels.SelectorFromSet(rc.Spec.Selector)
	},
	spec: func(rc *corev1.ReplicationController) spec {
		return spec{ptr.Deref(rc.Spec.Replicas, 1), rc.Spec.MinReadySeconds, rc.Spec.Template}
	},
	status: func(rc *corev1.ReplicationController) *appsv1.ReplicaSetStatus {
		s := &appsv1.ReplicaSetStatus{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas,
			ReadyReplicas: rc.Status.ReadyReplicas, AvailableReplicas: rc.Status.AvailableReplicas,
			ObservedGeneration: rc.Status.ObservedGeneration,
		}
		for _, c := range rc.Status.Conditions {
			s.Conditions = append(s.Conditions, appsv1.ReplicaSetCondition{
				Type:   appsv1.ReplicaSetConditionType(c.Type),
				Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
			})
		}
		return s
	},
	with: func(rc *corev1.ReplicationController, s *appsv1.ReplicaSetStatus) *corev1.ReplicationController {
		rc = rc.DeepCopy()
		rc.Status = corev1.ReplicationControllerStatus{
			Replicas: s.Replicas, FullyLabeledReplicas: s.FullyLabeledReplicas, ReadyReplicas: s.ReadyReplicas,
			AvailableReplicas: s.AvailableReplicas, ObservedGeneration: s.ObservedGeneration,
		}
		for _, c := range s.Conditions {
			rc.Status.Conditions = append(rc.Status.Conditions, corev1.ReplicationControllerCondition{
				Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status,
				LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
			})
		}
		return rc
	},
}
