package pods

import (
	corev1 "k8s.io/api/core/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
)

// Create creates a controller's pod and tells of it as upstream does.
func Create(p *corev1.Pod, controller kinds.Object) plan.Action {
	return plan.Create{Object: p, Say: plan.Say{
		About:  controller,
		Done:   plan.Note{Reason: "SuccessfulCreate", Format: "Created pod: %s"},
		Failed: plan.Note{Reason: "FailedCreate", Format: "Error creating: %v"},
	}}
}

// Delete deletes a controller's pod and tells of it as upstream does.
func Delete(p *corev1.Pod, controller kinds.Object) plan.Action {
	d := plan.DeleteOf(p)
	d.Say = plan.Say{
		About:  controller,
		Done:   plan.Note{Reason: "SuccessfulDelete", Format: "Deleted pod: %s"},
		Failed: plan.Note{Reason: "FailedDelete", Format: "Error deleting: %v"},
	}
	return d
}
