package apps

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// ReplicaSet is the behaviour of apps/v1 ReplicaSet.
func ReplicaSet() strategy.Kind[*appsv1.ReplicaSet] {
	spec, status := appsv1.ReplicaSetSpec{}.SwaggerDoc(), appsv1.ReplicaSetStatus{}.SwaggerDoc()
	containers, images := cells.Workload()
	return strategy.Kind[*appsv1.ReplicaSet]{
		Default: func(r *appsv1.ReplicaSet) {
			core.DefaultPodTemplate(&r.Spec.Template)
			defaultInt32(&r.Spec.Replicas, 1)
		},
		PrepareCreate: func(r *appsv1.ReplicaSet) {
			r.Status = appsv1.ReplicaSetStatus{}
			r.Generation = 1
			core.DropDisabledTemplateFields(&r.Spec.Template)
		},
		PrepareUpdate: func(r, old *appsv1.ReplicaSet) {
			r.Status = old.Status
			core.DropDisabledTemplateFields(&r.Spec.Template)
			strategy.Generation(r, old, !equality.Semantic.DeepEqual(r.Spec, old.Spec))
		},
		ValidateCreate: func(r *appsv1.ReplicaSet) field.ErrorList {
			return validateReplicaSet(&r.Spec, core.TemplateAllowances(nil))
		},
		ValidateUpdate: func(r, old *appsv1.ReplicaSet) field.ErrorList {
			errs := validateReplicaSet(&r.Spec, core.TemplateAllowances(&old.Spec.Template))
			return append(errs, check.Unchanged(specPath.Child("selector"), r.Spec.Selector, old.Spec.Selector)...)
		},
		Status: &strategy.Sub[*appsv1.ReplicaSet]{
			PrepareUpdate:  func(r, old *appsv1.ReplicaSet) { r.Spec = old.Spec },
			ValidateUpdate: func(r, _ *appsv1.ReplicaSet) field.ErrorList { return validateReplicaSetStatus(&r.Status) },
		},
		Scale: &strategy.Scale[*appsv1.ReplicaSet]{
			Replicas:       func(r *appsv1.ReplicaSet) int32 { return ptr.Deref(r.Spec.Replicas, 0) },
			SetReplicas:    func(r *appsv1.ReplicaSet, n int32) { r.Spec.Replicas = &n },
			StatusReplicas: func(r *appsv1.ReplicaSet) int32 { return r.Status.Replicas },
			Selector:       func(r *appsv1.ReplicaSet) (string, error) { return selectorString(r.Spec.Selector) },
		},
		Fields: func(r *appsv1.ReplicaSet) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
		},
		Warnings: func(r, old *appsv1.ReplicaSet) []string {
			if old == nil {
				return append(core.PodNameWarnings(r.Name), templateWarnings(&r.Spec.Template, true)...)
			}
			return templateWarnings(&r.Spec.Template, r.Generation != old.Generation)
		},
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
		Cells: func(r *appsv1.ReplicaSet) []any {
			names, images := cells.Containers(r.Spec.Template.Spec.Containers)
			return []any{
				r.Name, int64(ptr.Deref(r.Spec.Replicas, 0)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
				cells.AgeOf(r), names, images, metav1.FormatLabelSelector(r.Spec.Selector),
			}
		},
	}
}

func validateReplicaSet(spec *appsv1.ReplicaSetSpec, allow core.Allowances) field.ErrorList {
	errs := check.NotNegative(specPath.Child("replicas"), ptr.Deref(spec.Replicas, 0))
	errs = append(errs, check.NotNegative(specPath.Child("minReadySeconds"), spec.MinReadySeconds)...)
	// Upstream's message names the wrong kind, and clients compare messages.
	errs = append(errs, validateSelector(specPath.Child("selector"), spec.Selector, "deployment")...)
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err != nil {
		return append(errs, field.Invalid(specPath.Child("selector"), spec.Selector, "invalid label selector"))
	}
	return append(errs, validateReplicatedTemplate(templatePath, &spec.Template, selector, allow)...)
}

func validateReplicaSetStatus(s *appsv1.ReplicaSetStatus) field.ErrorList {
	labelled := check.Count{Child: "fullyLabeledReplicas", Value: s.FullyLabeledReplicas}
	ready := check.Count{Child: "readyReplicas", Value: s.ReadyReplicas}
	available := check.Count{Child: "availableReplicas", Value: s.AvailableReplicas}
	errs := check.Counts(statusPath, check.Count{Child: "replicas", Value: s.Replicas}, labelled, ready, available)
	errs = append(errs, check.NotNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)...)
	errs = append(errs, check.NotNegative(statusPath.Child("terminatingReplicas"), ptr.Deref(s.TerminatingReplicas, 0))...)
	errs = append(errs, check.CountsAtMost(statusPath, s.Replicas, aboveReplicas, labelled, ready, available)...)
	return append(errs, check.CountsAtMost(statusPath, s.ReadyReplicas, "cannot be greater than readyReplicas", available)...)
}
