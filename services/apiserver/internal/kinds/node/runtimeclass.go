// Package node holds the behaviour of the kinds of the node.k8s.io API group.
package node

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// RuntimeClass is the behaviour of node.k8s.io/v1 RuntimeClass.
func RuntimeClass() strategy.Kind[*nodev1.RuntimeClass] {
	handler := field.NewPath("handler")
	return strategy.Kind[*nodev1.RuntimeClass]{
		ValidateCreate: func(c *nodev1.RuntimeClass) field.ErrorList {
			errs := validateRuntime(c)
			if c.Handler == "" {
				return append(errs, field.Required(handler, ""))
			}
			return append(errs, check.All(handler, c.Handler, content.IsDNS1123Label(c.Handler))...)
		},
		ValidateUpdate: func(c, old *nodev1.RuntimeClass) field.ErrorList {
			var errs field.ErrorList
			if c.Handler != "" {
				errs = check.All(handler, c.Handler, validation.IsDNS1123Label(c.Handler))
			}
			errs = append(errs, validateRuntime(c)...)
			errs = append(errs, check.Fixed(handler, c.Handler, old.Handler)...)
			if c.Handler == "" {
				errs = append(errs, field.Required(handler, ""))
			}
			return errs
		},
		Warnings:            runtimeWarnings,
		AllowCreateOnUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			// Upstream looks the description up in the wrong place.
			cells.Text("Handler", ""),
			cells.Age(),
		),
		Cells: func(c *nodev1.RuntimeClass) []any { return []any{c.Name, c.Handler, cells.AgeOf(c)} },
	}
}

func validateRuntime(c *nodev1.RuntimeClass) field.ErrorList {
	var errs field.ErrorList
	if c.Overhead != nil {
		errs = append(errs, core.ValidateLimits(field.NewPath("overhead"), c.Overhead.PodFixed)...)
	}
	if c.Scheduling == nil {
		return errs
	}
	p := field.NewPath("scheduling")
	errs = append(errs, metavalidation.ValidateLabels(c.Scheduling.NodeSelector, p.Child("nodeSelector"))...)
	errs = append(errs, core.ValidateTolerations(p.Child("tolerations"), c.Scheduling.Tolerations)...)
	seen := map[corev1.Toleration]bool{}
	for i, t := range c.Scheduling.Tolerations {
		key := corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
		if seen[key] {
			errs = append(errs, field.Duplicate(p.Child("tolerations").Index(i), check.Internal(t)))
		}
		seen[key] = true
	}
	return errs
}

func runtimeWarnings(c, _ *nodev1.RuntimeClass) []string {
	if c.Scheduling == nil {
		return nil
	}
	var warnings []string
	for key := range c.Scheduling.NodeSelector {
		if deprecated := core.DeprecatedLabel(key); deprecated != "" {
			warnings = append(warnings, fmt.Sprintf("scheduling.nodeSelector: %s", deprecated))
		}
	}
	slices.Sort(warnings)
	return warnings
}
