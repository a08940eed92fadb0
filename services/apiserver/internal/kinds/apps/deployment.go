package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// defaultRolloutShare is how much of a Deployment may be missing, and may be
// too much, while it rolls out.
const (
	defaultRolloutShare    = "25%"
	defaultProgressSeconds = 600
)

// Deployment is the behaviour of apps/v1 Deployment.
func Deployment() strategy.Kind[*appsv1.Deployment] {
	doc := appsv1.DeploymentStatus{}.SwaggerDoc()
	containers, images := cells.Workload()
	return strategy.Kind[*appsv1.Deployment]{
		Default:       defaultDeployment,
		PrepareCreate: prepareDeployment,
		PrepareUpdate: prepareDeploymentUpdate,
		ValidateCreate: func(d *appsv1.Deployment) field.ErrorList {
			return validateDeployment(&d.Spec, core.TemplateAllowances(nil))
		},
		ValidateUpdate: func(d, old *appsv1.Deployment) field.ErrorList {
			errs := validateDeployment(&d.Spec, core.TemplateAllowances(&old.Spec.Template))
			return append(errs, check.Unchanged(specPath.Child("selector"), d.Spec.Selector, old.Spec.Selector)...)
		},
		Status: &strategy.Sub[*appsv1.Deployment]{
			PrepareUpdate: func(d, old *appsv1.Deployment) {
				d.Spec, d.Labels = old.Spec, old.Labels
			},
			ValidateUpdate: validateDeploymentStatus,
		},
		Scale: &strategy.Scale[*appsv1.Deployment]{
			Replicas:       func(d *appsv1.Deployment) int32 { return ptr.Deref(d.Spec.Replicas, 0) },
			SetReplicas:    func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n },
			StatusReplicas: func(d *appsv1.Deployment) int32 { return d.Status.Replicas },
			Selector:       func(d *appsv1.Deployment) (string, error) { return selectorString(d.Spec.Selector) },
		},
		Warnings: func(d, old *appsv1.Deployment) []string {
			if old == nil {
				return append(core.PodNameWarnings(d.Name), templateWarnings(&d.Spec.Template, true)...)
			}
			return templateWarnings(&d.Spec.Template, d.Generation != old.Generation)
		},
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec", "metadata.labels"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Ready", "Number of the pod with ready state"),
			cells.Text("Up-to-date", doc["updatedReplicas"]),
			cells.Text("Available", doc["availableReplicas"]),
			cells.Age(), containers, images,
			cells.Wide(cells.Text("Selector", appsv1.DeploymentSpec{}.SwaggerDoc()["selector"])),
		),
		Cells: deploymentCells,
	}
}

func defaultDeployment(d *appsv1.Deployment) {
	core.DefaultPodTemplate(&d.Spec.Template)
	defaultInt32(&d.Spec.Replicas, 1)
	s := &d.Spec.Strategy
	defaultTo(&s.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if s.RollingUpdate == nil {
			s.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		defaultAmount(&s.RollingUpdate.MaxUnavailable, intstr.FromString(defaultRolloutShare))
		defaultAmount(&s.RollingUpdate.MaxSurge, intstr.FromString(defaultRolloutShare))
	}
	defaultInt32(&d.Spec.RevisionHistoryLimit, defaultHistoryLimit)
	defaultInt32(&d.Spec.ProgressDeadlineSeconds, defaultProgressSeconds)
}

func defaultAmount(value **intstr.IntOrString, otherwise intstr.IntOrString) {
	if *value == nil {
		*value = &otherwise
	}
}

func prepareDeployment(d *appsv1.Deployment) {
	d.Status = appsv1.DeploymentStatus{}
	d.Generation = 1
	core.DropDisabledTemplateFields(&d.Spec.Template)
}

// prepareDeploymentUpdate counts a change of annotations as one of the desired
// state, because the ReplicaSets are given the Deployment's annotations.
func prepareDeploymentUpdate(d, old *appsv1.Deployment) {
	d.Status = old.Status
	core.DropDisabledTemplateFields(&d.Spec.Template)
	strategy.Generation(d, old, !equality.Semantic.DeepEqual(d.Spec, old.Spec) || !equality.Semantic.DeepEqual(d.Annotations, old.Annotations))
}

func validateDeployment(spec *appsv1.DeploymentSpec, allow core.Allowances) field.ErrorList {
	errs := check.NotNegative(specPath.Child("replicas"), ptr.Deref(spec.Replicas, 0))
	errs = append(errs, validateSelector(specPath.Child("selector"), spec.Selector, "deployment")...)
	if selector, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
		errs = append(errs, field.Invalid(specPath.Child("selector"), spec.Selector, "invalid label selector"))
	} else {
		errs = append(errs, validateReplicatedTemplate(templatePath, &spec.Template, selector, allow)...)
	}
	errs = append(errs, validateDeploymentStrategy(specPath.Child("strategy"), &spec.Strategy)...)
	errs = append(errs, check.NotNegative(specPath.Child("minReadySeconds"), spec.MinReadySeconds)...)
	if spec.RevisionHistoryLimit != nil {
		errs = append(errs, check.NotNegative(specPath.Child("revisionHistoryLimit"), *spec.RevisionHistoryLimit)...)
	}
	if deadline := spec.ProgressDeadlineSeconds; deadline != nil {
		p := specPath.Child("progressDeadlineSeconds")
		errs = append(errs, check.NotNegative(p, *deadline)...)
		if *deadline <= spec.MinReadySeconds {
			errs = append(errs, field.Invalid(p, *deadline, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateDeploymentStrategy(p *field.Path, s *appsv1.DeploymentStrategy) field.ErrorList {
	rolling := p.Child("rollingUpdate")
	switch {
	case s.Type == appsv1.RecreateDeploymentStrategyType && s.RollingUpdate != nil:
		return field.ErrorList{field.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'")}
	case s.Type == appsv1.RecreateDeploymentStrategyType:
		return nil
	case s.Type != appsv1.RollingUpdateDeploymentStrategyType:
		return field.ErrorList{field.NotSupported(p, check.Internal(s), []appsv1.DeploymentStrategyType{
			appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType,
		})}
	case s.RollingUpdate == nil:
		return field.ErrorList{field.Required(rolling, "this should be defaulted and never be nil")}
	}
	unavailable, surge := ptr.Deref(s.RollingUpdate.MaxUnavailable, intstr.IntOrString{}), ptr.Deref(s.RollingUpdate.MaxSurge, intstr.IntOrString{})
	errs := check.IntOrPercent(rolling.Child("maxUnavailable"), unavailable)
	errs = append(errs, check.IntOrPercent(rolling.Child("maxSurge"), surge)...)
	if check.Amount(unavailable) == 0 && check.Amount(surge) == 0 {
		errs = append(errs, field.Invalid(rolling.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, check.NotAbove100Percent(rolling.Child("maxUnavailable"), unavailable)...)
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	s := &d.Status
	errs := check.NotNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)
	errs = append(errs, check.Counts(statusPath,
		check.Count{Child: "replicas", Value: s.Replicas},
		check.Count{Child: "updatedReplicas", Value: s.UpdatedReplicas},
		check.Count{Child: "readyReplicas", Value: s.ReadyReplicas},
		check.Count{Child: "availableReplicas", Value: s.AvailableReplicas},
		check.Count{Child: "unavailableReplicas", Value: s.UnavailableReplicas},
		check.Count{Child: "terminatingReplicas", Value: ptr.Deref(s.TerminatingReplicas, 0)},
		check.Count{Child: "collisionCount", Value: ptr.Deref(s.CollisionCount, 0)},
	)...)
	errs = append(errs, check.CountsAtMost(statusPath, s.Replicas, aboveReplicas,
		check.Count{Child: "updatedReplicas", Value: s.UpdatedReplicas},
		check.Count{Child: "readyReplicas", Value: s.ReadyReplicas},
		check.Count{Child: "availableReplicas", Value: s.AvailableReplicas},
	)...)
	errs = append(errs, check.CountsAtMost(statusPath, s.ReadyReplicas, "cannot be greater than readyReplicas",
		check.Count{Child: "availableReplicas", Value: s.AvailableReplicas},
	)...)
	return append(errs, check.NotDecremented(statusPath.Child("collisionCount"), s.CollisionCount, old.Status.CollisionCount)...)
}

func deploymentCells(d *appsv1.Deployment) []any {
	selector, err := selectorString(d.Spec.Selector)
	if err != nil {
		selector = "<invalid>"
	}
	names, images := cells.Containers(d.Spec.Template.Spec.Containers)
	return []any{
		d.Name, readyOf(d.Status.ReadyReplicas, d.Spec.Replicas), int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas),
		cells.AgeOf(d), names, images, selector,
	}
}
