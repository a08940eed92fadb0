package engine

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"coracle.local/services/scheduler/internal/storage"
)

// What follows is all that the engine asks of the world. Every method returns
// at once; done is called exactly once, from any goroutine, when the API server
// has answered.

// Binder places pods.
type Binder interface {
	Bind(p *corev1.Pod, node string, done func(error))
}

// StatusWriter tells users about a pod in its status. It is told again when
// things change, so nobody waits for it; a newer change of the same pod replaces
// an older one that is not written yet.
type StatusWriter interface {
	WriteStatus(p *corev1.Pod, change StatusChange)
}

// StatusChange is what to write. Nil fields stay as they are.
type StatusChange struct {
	Condition *corev1.PodCondition
	// Nominated is the node that was promised to the pod, or empty to take the
	// promise back.
	Nominated *string
}

// Evictor asks pods to leave a node for another pod.
type Evictor interface {
	Evict(victims []*corev1.Pod, preemptor *corev1.Pod, node string, done func(error))
}

// VolumeBinder starts the binding or provisioning of a pod's volumes for a
// node. done says only that it has begun.
type VolumeBinder interface {
	BindVolumes(p *corev1.Pod, node string, plan storage.Plan, done func(error))
}

// Recorder writes events; client-go's record.EventRecorder is one.
type Recorder interface {
	Event(object runtime.Object, eventType, reason, message string)
}

// Budgets lists the disruption budgets of all namespaces.
type Budgets interface {
	Budgets() []*policyv1.PodDisruptionBudget
}
