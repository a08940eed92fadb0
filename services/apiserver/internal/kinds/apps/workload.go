package apps

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
)

const (
	defaultHistoryLimit = 10

	aboveReplicas  = "cannot be greater than status.replicas"
	labelsMismatch = "`selector` does not match template `labels`"
)

var (
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
	templatePath = specPath.Child("template")
)

func defaultInt32(value **int32, otherwise int32) {
	if *value == nil {
		*value = ptr.To(otherwise)
	}
}

func defaultTo[T ~string](value *T, otherwise T) {
	if *value == "" {
		*value = otherwise
	}
}

// validateSelector checks the selector of a workload. It selects the pods
// that are counted as the workload's, so it must not select all.
func validateSelector(p *field.Path, selector *metav1.LabelSelector, kind string) field.ErrorList {
	if selector == nil {
		return field.ErrorList{field.Required(p, "")}
	}
	errs := check.Selector(p, selector, false)
	if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(p, selector, "empty selector is invalid for "+kind))
	}
	return errs
}

// validateReplicatedTemplate checks the template of a ReplicaSet or of a
// Deployment, which makes ReplicaSets of it.
func validateReplicatedTemplate(p *field.Path, template *corev1.PodTemplateSpec, selector labels.Selector, allow core.Allowances) field.ErrorList {
	errs := validateMatch(p, template, selector)
	errs = append(errs, core.ValidatePodTemplate(p, template, allow)...)
	return append(errs, validateLongRunning(p, &template.Spec, "ReplicaSet")...)
}

func validateMatch(p *field.Path, template *corev1.PodTemplateSpec, selector labels.Selector) field.ErrorList {
	if selector.Empty() || selector.Matches(labels.Set(template.Labels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(p.Child("metadata", "labels"), template.Labels, labelsMismatch)}
}

// validateLongRunning refuses pods that would come to an end by themselves.
func validateLongRunning(p *field.Path, spec *corev1.PodSpec, kind string) field.ErrorList {
	errs := check.OneOf(p.Child("spec", "restartPolicy"), spec.RestartPolicy, corev1.RestartPolicyAlways)
	if spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(p.Child("spec", "activeDeadlineSeconds"), fmt.Sprintf("activeDeadlineSeconds in %s is not Supported", kind)))
	}
	return errs
}

func selectorString(selector *metav1.LabelSelector) (string, error) {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return "", fmt.Errorf("label selector of a workload: %w", err)
	}
	return parsed.String(), nil
}

// templateWarnings are given when the workload is new or its generation has
// changed, not on every write.
func templateWarnings(template *corev1.PodTemplateSpec, changed bool) []string {
	if !changed {
		return nil
	}
	return core.PodTemplateWarnings(templatePath, template)
}

func readyOf(ready int32, replicas *int32) string {
	return fmt.Sprintf("%d/%d", ready, ptr.Deref(replicas, 0))
}
