package resource

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

var specPath = field.NewPath("spec")

// Claim is the behaviour of resource.k8s.io/v1 ResourceClaim.
func Claim() strategy.Kind[*resourcev1.ResourceClaim] {
	k := strategy.Outline[*resourcev1.ResourceClaim]()
	k.Default = func(c *resourcev1.ResourceClaim) {
		defaultClaim(&c.Spec)
		if a := c.Status.Allocation; a != nil {
			for i := range a.Devices.Results {
				defaultTolerations(a.Devices.Results[i].Tolerations)
			}
		}
	}
	k.PrepareCreate = func(c *resourcev1.ResourceClaim) {
		c.Status = resourcev1.ResourceClaimStatus{}
		dropSpec(&c.Spec)
	}
	k.PrepareUpdate = func(c, old *resourcev1.ResourceClaim) {
		c.Status = old.Status
		dropSpec(&c.Spec)
	}
	k.ValidateCreate = validateClaim
	k.ValidateUpdate = func(c, old *resourcev1.ResourceClaim) field.ErrorList {
		return check.Fixed(specPath, c.Spec, old.Spec)
	}
	prepare := k.Status.PrepareUpdate
	k.Status.PrepareUpdate = func(c, old *resourcev1.ResourceClaim) {
		prepare(c, old)
		prepareStatus(c, old)
		metav1.ResetObjectMetaForStatus(&c.ObjectMeta, &old.ObjectMeta)
	}
	k.ResetFields = map[string][]string{"": {"status"}, "status": {"metadata", "spec"}}
	k.Status.ValidateUpdate = validateClaimStatus
	k.Columns = cells.Columns(
		cells.Name(),
		cells.Text("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
		cells.Age(),
	)
	k.Cells = func(c *resourcev1.ResourceClaim) []any { return []any{c.Name, claimState(c), cells.AgeOf(c)} }
	return k
}

func defaultClaim(spec *resourcev1.ResourceClaimSpec) {
	for i := range spec.Devices.Requests {
		request := &spec.Devices.Requests[i]
		if exact := request.Exactly; exact != nil {
			defaultTolerations(exact.Tolerations)
			defaultCount(&exact.AllocationMode, &exact.Count)
		}
		for k := range request.FirstAvailable {
			defaultTolerations(request.FirstAvailable[k].Tolerations)
			defaultCount(&request.FirstAvailable[k].AllocationMode, &request.FirstAvailable[k].Count)
		}
	}
}

func defaultTolerations(tolerations []resourcev1.DeviceToleration) {
	for i := range tolerations {
		if tolerations[i].Operator == "" {
			tolerations[i].Operator = resourcev1.DeviceTolerationOpEqual
		}
	}
}

func defaultCount(mode *resourcev1.DeviceAllocationMode, count *int64) {
	if *mode == "" {
		*mode = resourcev1.DeviceAllocationModeExactCount
	}
	if *mode == resourcev1.DeviceAllocationModeExactCount && *count == 0 {
		*count = 1
	}
}

func claimState(c *resourcev1.ResourceClaim) string {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
		if len(c.Status.ReservedFor) > 0 {
			states = append(states, "reserved")
		}
	case c.DeletionTimestamp == nil:
		states = append(states, "pending")
	}
	return strings.Join(states, ",")
}
