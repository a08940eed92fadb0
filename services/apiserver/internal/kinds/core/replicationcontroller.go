package core

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// ReplicationController is the behaviour of core/v1 ReplicationController.
func ReplicationController() strategy.Kind[*corev1.ReplicationController] {
	spec, status := corev1.ReplicationControllerSpec{}.SwaggerDoc(), corev1.ReplicationControllerStatus{}.SwaggerDoc()
	containers, images := cells.Workload()
	return strategy.Kind[*corev1.ReplicationController]{
		Default: defaultReplicationController,
		PrepareCreate: func(r *corev1.ReplicationController) {
			r.Status = corev1.ReplicationControllerStatus{}
			r.Generation = 1
			dropTemplate(r.Spec.Template)
		},
		PrepareUpdate: func(r, old *corev1.ReplicationController) {
			r.Status = old.Status
			dropTemplate(r.Spec.Template)
			strategy.Generation(r, old, !equality.Semantic.DeepEqual(r.Spec, old.Spec))
		},
		MetadataLast: true,
		ValidateCreate: func(r *corev1.ReplicationController) field.ErrorList {
			return append(check.LongName(r, true), validateReplicationController(r, TemplateAllowances(nil))...)
		},
		ValidateUpdate: func(r, old *corev1.ReplicationController) field.ErrorList {
			errs := validateReplicationController(r, TemplateAllowances(old.Spec.Template))
			return append(errs, validateNonConvertible(r, old)...)
		},
		Status: &strategy.Sub[*corev1.ReplicationController]{
			PrepareUpdate:  func(r, old *corev1.ReplicationController) { r.Spec = old.Spec },
			ValidateUpdate: func(r, _ *corev1.ReplicationController) field.ErrorList { return validateReplicationStatus(&r.Status) },
		},
		Scale: &strategy.Scale[*corev1.ReplicationController]{
			Replicas:       func(r *corev1.ReplicationController) int32 { return ptr.Deref(r.Spec.Replicas, 0) },
			SetReplicas:    func(r *corev1.ReplicationController, n int32) { r.Spec.Replicas = &n },
			StatusReplicas: func(r *corev1.ReplicationController) int32 { return r.Status.Replicas },
			Selector: func(r *corev1.ReplicationController) (string, error) {
				return labels.SelectorFromSet(r.Spec.Selector).String(), nil
			},
		},
		Fields: func(r *corev1.ReplicationController) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
		},
		Warnings:                 replicationControllerWarnings,
		OrphansByDefault:         true,
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Number("Desired", spec["replicas"]),
			cells.Number("Current", status["replicas"]),
			cells.Number("Ready", status["readyReplicas"]),
			cells.Age(), containers, images,
			cells.Wide(cells.Text("Selector", spec["selector"])),
		),
		Cells: func(r *corev1.ReplicationController) []any {
			var list []corev1.Container
			if r.Spec.Template != nil {
				list = r.Spec.Template.Spec.Containers
			}
			names, images := cells.Containers(list)
			return []any{
				r.Name, int64(ptr.Deref(r.Spec.Replicas, 0)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
				cells.AgeOf(r), names, images, cells.Labels(r.Spec.Selector),
			}
		},
	}
}

func defaultReplicationController(r *corev1.ReplicationController) {
	if t := r.Spec.Template; t != nil {
		if t.Labels != nil && len(r.Spec.Selector) == 0 {
			r.Spec.Selector = t.Labels
		}
		if t.Labels != nil && len(r.Labels) == 0 {
			r.Labels = t.Labels
		}
		DefaultPodTemplate(t)
	}
	if r.Spec.Replicas == nil {
		r.Spec.Replicas = ptr.To[int32](1)
	}
}

func dropTemplate(t *corev1.PodTemplateSpec) {
	if t != nil {
		DropDisabledTemplateFields(t)
	}
}

func validateReplicationController(r *corev1.ReplicationController, allow Allowances) field.ErrorList {
	var errs field.ErrorList
	spec := &r.Spec
	if labels.Set(spec.Selector).AsSelector().Empty() {
		errs = append(errs, field.Required(specPath.Child("selector"), ""))
	}
	errs = append(errs, validateReplicatedTemplate(specPath.Child("template"), spec, allow)...)
	if spec.Replicas == nil {
		errs = append(errs, field.Required(specPath.Child("replicas"), ""))
	} else {
		errs = append(errs, check.NotNegative(specPath.Child("replicas"), *spec.Replicas)...)
	}
	return append(errs, check.NotNegative(specPath.Child("minReadySeconds"), spec.MinReadySeconds)...)
}

func validateReplicatedTemplate(p *field.Path, spec *corev1.ReplicationControllerSpec, allow Allowances) field.ErrorList {
	t := spec.Template
	if t == nil {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	selector := labels.Set(spec.Selector).AsSelector()
	if !selector.Empty() && !selector.Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(p.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	errs = append(errs, ValidatePodTemplate(p, t, allow)...)
	errs = append(errs, check.OneOf(p.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, corev1.RestartPolicyAlways)...)
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(p.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported"))
	}
	return errs
}

// nonConvertible marks what was lost when an object was shown as another kind.
const nonConvertible = "non-convertible.kubernetes.io/"

func validateNonConvertible(r, old *corev1.ReplicationController) field.ErrorList {
	var errs field.ErrorList
	for _, key := range sortedKeys(old.Annotations) {
		name, marked := strings.CutPrefix(key, nonConvertible)
		switch {
		case !marked || strings.Contains(name, "/"):
		case !strings.Contains(name, "selector"):
			errs = append(errs, &field.Error{
				Type: field.ErrorTypeNotFound, BadValue: old.Annotations[key], Field: name, Detail: "unknown non-convertible field",
			})
		case !equality.Semantic.DeepEqual(old.Spec.Selector, r.Spec.Selector):
			errs = append(errs, field.Invalid(specPath.Child("selector"), r.Spec.Selector, "cannot update non-convertible selector"))
		}
	}
	return errs
}

func validateReplicationStatus(s *corev1.ReplicationControllerStatus) field.ErrorList {
	errs := check.NotNegative(statusPath.Child("replicas"), s.Replicas)
	errs = append(errs, check.NotNegative(statusPath.Child("fullyLabeledReplicas"), s.FullyLabeledReplicas)...)
	errs = append(errs, check.NotNegative(statusPath.Child("readyReplicas"), s.ReadyReplicas)...)
	errs = append(errs, check.NotNegative(statusPath.Child("availableReplicas"), s.AvailableReplicas)...)
	errs = append(errs, check.NotNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)...)
	for _, count := range []struct {
		child string
		value int32
	}{
		{"fullyLabeledReplicas", s.FullyLabeledReplicas},
		{"readyReplicas", s.ReadyReplicas},
		{"availableReplicas", s.AvailableReplicas},
	} {
		if count.value > s.Replicas {
			errs = append(errs, field.Invalid(statusPath.Child(count.child), count.value, "cannot be greater than status.replicas"))
		}
	}
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return errs
}

func replicationControllerWarnings(r, old *corev1.ReplicationController) []string {
	if old != nil && (old.Generation == r.Generation || old.Spec.Template == nil) {
		return nil
	}
	var warnings []string
	template := r.Spec.Template
	if old == nil {
		warnings = PodNameWarnings(r.Name)
	} else {
		template = old.Spec.Template // upstream takes the one for the other
	}
	if template != nil {
		warnings = append(warnings, PodTemplateWarnings(specPath.Child("template"), template)...)
	}
	return warnings
}

// PodNameWarnings are for workloads whose pods are named after them.
func PodNameWarnings(name string) []string {
	wrong := validation.IsDNS1123Label(name)
	if len(wrong) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", wrong)}
}
