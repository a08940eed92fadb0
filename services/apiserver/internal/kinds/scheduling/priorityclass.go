// Package scheduling holds the behaviour of the kinds of the
// scheduling.k8s.io API group.
package scheduling

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

const (
	systemPrefix          = "system-"
	highestUserPriority   = 1_000_000_000
	systemClusterCritical = "system-cluster-critical"
	systemNodeCritical    = "system-node-critical"
)

// systemPriorities are the classes that the control plane makes at its start.
var systemPriorities = map[string]int32{
	systemClusterCritical: 2 * highestUserPriority,
	systemNodeCritical:    2*highestUserPriority + 1000,
}

// PriorityClass is the behaviour of scheduling.k8s.io/v1 PriorityClass.
func PriorityClass() strategy.Kind[*schedulingv1.PriorityClass] {
	doc := schedulingv1.PriorityClass{}.SwaggerDoc()
	return strategy.Kind[*schedulingv1.PriorityClass]{
		Default: func(c *schedulingv1.PriorityClass) {
			if c.PreemptionPolicy == nil {
				policy := corev1.PreemptLowerPriority
				c.PreemptionPolicy = &policy
			}
		},
		PrepareCreate:  func(c *schedulingv1.PriorityClass) { c.Generation = 1 },
		ValidateCreate: validatePriorityClass,
		ValidateUpdate: func(c, old *schedulingv1.PriorityClass) field.ErrorList {
			var errs field.ErrorList
			if c.Value != old.Value {
				errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
			}
			return append(errs, check.Unchanged(field.NewPath("preemptionPolicy"), c.PreemptionPolicy, old.PreemptionPolicy)...)
		},
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			cells.Number("Value", doc["value"]),
			cells.Bool("Global-Default", doc["globalDefault"]),
			cells.Age(),
			cells.Text("PreemptionPolicy", doc["preemptionPolicy"]),
		),
		Cells: func(c *schedulingv1.PriorityClass) []any {
			return []any{c.Name, int64(c.Value), c.GlobalDefault, cells.AgeOf(c), cells.Ptr(c.PreemptionPolicy, "")}
		},
	}
}

func validatePriorityClass(c *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if strings.HasPrefix(c.Name, systemPrefix) {
		if wrong := wrongSystemClass(c); wrong != "" {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				"priority class names with '"+systemPrefix+"' prefix are reserved for system use only. error: "+wrong))
		}
	} else if c.Value > highestUserPriority {
		errs = append(errs, field.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", highestUserPriority)))
	}
	if c.PreemptionPolicy != nil {
		errs = append(errs, check.RequiredOneOf(field.NewPath("preemptionPolicy"), *c.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	return errs
}

func wrongSystemClass(c *schedulingv1.PriorityClass) string {
	value, known := systemPriorities[c.Name]
	switch {
	case !known:
		return c.Name + " is not a known system priority class"
	case c.Value != value:
		return fmt.Sprintf("value of %v PriorityClass must be %v", c.Name, value)
	case c.GlobalDefault:
		return fmt.Sprintf("globalDefault of %v PriorityClass must be false", c.Name)
	}
	return ""
}
