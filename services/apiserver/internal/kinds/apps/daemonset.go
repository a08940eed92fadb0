package apps

import (
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// DaemonSet is the behaviour of apps/v1 DaemonSet.
func DaemonSet() strategy.Kind[*appsv1.DaemonSet] {
	doc := appsv1.DaemonSetStatus{}.SwaggerDoc()
	containers, images := cells.Workload()
	return strategy.Kind[*appsv1.DaemonSet]{
		Default:       defaultDaemonSet,
		PrepareCreate: prepareDaemonSet,
		PrepareUpdate: prepareDaemonSetUpdate,
		ValidateCreate: func(d *appsv1.DaemonSet) field.ErrorList {
			return validateDaemonSet(&d.Spec, core.TemplateAllowances(nil))
		},
		ValidateUpdate: func(d, old *appsv1.DaemonSet) field.ErrorList {
			allow := core.TemplateAllowances(&old.Spec.Template)
			allow.InvalidSelectorValues = allow.InvalidSelectorValues || metavalidation.LabelSelectorHasInvalidLabelValue(old.Spec.Selector)
			errs := check.Unchanged(specPath.Child("selector"), d.Spec.Selector, old.Spec.Selector)
			return append(errs, validateDaemonSet(&d.Spec, allow)...)
		},
		Status: &strategy.Sub[*appsv1.DaemonSet]{
			PrepareUpdate: func(d, old *appsv1.DaemonSet) {
				d.Spec = old.Spec
				setTemplateGeneration(d, templateGeneration(old))
			},
			ValidateUpdate: validateDaemonSetStatus,
		},
		Warnings: func(d, old *appsv1.DaemonSet) []string {
			return templateWarnings(&d.Spec.Template, old == nil || templateGeneration(d) != templateGeneration(old))
		},
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Number("Desired", doc["desiredNumberScheduled"]),
			cells.Number("Current", doc["currentNumberScheduled"]),
			cells.Number("Ready", doc["numberReady"]),
			cells.Number("Up-to-date", doc["updatedNumberScheduled"]),
			cells.Number("Available", doc["numberAvailable"]),
			cells.Text("Node Selector", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"]),
			cells.Age(), containers, images,
			cells.Wide(cells.Text("Selector", appsv1.DaemonSetSpec{}.SwaggerDoc()["selector"])),
		),
		Cells: daemonSetCells,
	}
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	core.DefaultPodTemplate(&d.Spec.Template)
	if _, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]; !ok {
		setTemplateGeneration(d, 0) // every DaemonSet of apps/v1 has one
	}
	s := &d.Spec.UpdateStrategy
	defaultTo(&s.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if s.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if s.RollingUpdate == nil {
			s.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		defaultAmount(&s.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		defaultAmount(&s.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	defaultInt32(&d.Spec.RevisionHistoryLimit, defaultHistoryLimit)
}

func prepareDaemonSet(d *appsv1.DaemonSet) {
	d.Status = appsv1.DaemonSetStatus{}
	d.Generation = 1
	setTemplateGeneration(d, max(templateGeneration(d), 1))
	core.DropDisabledTemplateFields(&d.Spec.Template)
}

func prepareDaemonSetUpdate(d, old *appsv1.DaemonSet) {
	core.DropDisabledTemplateFields(&d.Spec.Template)
	d.Status = old.Status
	generation := templateGeneration(old)
	if !equality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
		generation++
	}
	setTemplateGeneration(d, generation)
	strategy.Generation(d, old, !equality.Semantic.DeepEqual(d.Spec, old.Spec))
}

// templateGeneration counts the changes of the template. It was a field of the
// spec once; since apps/v1 it is an annotation, which only the server writes.
func templateGeneration(d *appsv1.DaemonSet) int64 {
	generation, err := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		return 0
	}
	return generation
}

func setTemplateGeneration(d *appsv1.DaemonSet, generation int64) {
	annotations := maps.Clone(d.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(generation, 10)
	d.Annotations = annotations
}

func validateDaemonSet(spec *appsv1.DaemonSetSpec, allow core.Allowances) field.ErrorList {
	at := specPath.Child("selector")
	errs := check.Selector(at, spec.Selector, allow.InvalidSelectorValues)
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err == nil && !selector.Matches(labels.Set(spec.Template.Labels)) {
		errs = append(errs, field.Invalid(templatePath.Child("metadata", "labels"), spec.Template.Labels, labelsMismatch))
	}
	if spec.Selector != nil && len(spec.Selector.MatchLabels)+len(spec.Selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(at, spec.Selector, "empty selector is invalid for daemonset"))
	}
	errs = append(errs, core.ValidatePodTemplate(templatePath, &spec.Template, allow)...)
	errs = append(errs, validateLongRunning(templatePath, &spec.Template.Spec, "DaemonSet")...)
	errs = append(errs, check.NotNegative(specPath.Child("minReadySeconds"), spec.MinReadySeconds)...)
	errs = append(errs, validateDaemonSetStrategy(specPath.Child("updateStrategy"), &spec.UpdateStrategy)...)
	if spec.RevisionHistoryLimit != nil {
		errs = append(errs, check.NotNegative(specPath.Child("revisionHistoryLimit"), *spec.RevisionHistoryLimit)...)
	}
	return errs
}

func validateDaemonSetStrategy(p *field.Path, s *appsv1.DaemonSetUpdateStrategy) field.ErrorList {
	rolling := p.Child("rollingUpdate")
	switch {
	case s.Type == appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case s.Type != appsv1.RollingUpdateDaemonSetStrategyType:
		return field.ErrorList{field.NotSupported(p, check.Internal(s), []appsv1.DaemonSetUpdateStrategyType{
			appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType,
		})}
	case s.RollingUpdate == nil:
		return field.ErrorList{field.Required(rolling, "")}
	}
	unavailable, surge := ptr.Deref(s.RollingUpdate.MaxUnavailable, intstr.IntOrString{}), ptr.Deref(s.RollingUpdate.MaxSurge, intstr.IntOrString{})
	errs := check.IntOrPercent(rolling.Child("maxUnavailable"), unavailable)
	errs = append(errs, check.IntOrPercent(rolling.Child("maxSurge"), surge)...)
	errs = append(errs, check.NotAbove100Percent(rolling.Child("maxUnavailable"), unavailable)...)
	errs = append(errs, check.NotAbove100Percent(rolling.Child("maxSurge"), surge)...)
	switch {
	case check.Amount(unavailable) != 0 && check.Amount(surge) != 0:
		errs = append(errs, field.Invalid(rolling.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	case check.Amount(unavailable) == 0 && check.Amount(surge) == 0:
		errs = append(errs, field.Required(rolling.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

func validateDaemonSetStatus(d, old *appsv1.DaemonSet) field.ErrorList {
	s := &d.Status
	errs := check.Counts(statusPath,
		check.Count{Child: "currentNumberScheduled", Value: s.CurrentNumberScheduled},
		check.Count{Child: "numberMisscheduled", Value: s.NumberMisscheduled},
		check.Count{Child: "desiredNumberScheduled", Value: s.DesiredNumberScheduled},
		check.Count{Child: "numberReady", Value: s.NumberReady},
	)
	errs = append(errs, check.NotNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)...)
	errs = append(errs, check.Counts(statusPath,
		check.Count{Child: "updatedNumberScheduled", Value: s.UpdatedNumberScheduled},
		check.Count{Child: "numberAvailable", Value: s.NumberAvailable},
		check.Count{Child: "numberUnavailable", Value: s.NumberUnavailable},
		check.Count{Child: "collisionCount", Value: ptr.Deref(s.CollisionCount, 0)},
	)...)
	return append(errs, check.NotDecremented(statusPath.Child("collisionCount"), s.CollisionCount, old.Status.CollisionCount)...)
}

func daemonSetCells(d *appsv1.DaemonSet) []any {
	names, images := cells.Containers(d.Spec.Template.Spec.Containers)
	s := &d.Status
	return []any{
		d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady), int64(s.UpdatedNumberScheduled),
		int64(s.NumberAvailable), cells.Labels(d.Spec.Template.Spec.NodeSelector), cells.AgeOf(d), names, images,
		metav1.FormatLabelSelector(d.Spec.Selector),
	}
}
