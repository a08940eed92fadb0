package apps

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
)

// statefulSetAllowances are what the update of a set is forgiven, besides the
// faults of its template: what cannot change need not be checked again.
type statefulSetAllowances struct {
	core.Allowances
	serviceName, claims, template bool
}

func validateStatefulSet(spec *appsv1.StatefulSetSpec, allow statefulSetAllowances) field.ErrorList {
	var errs field.ErrorList
	switch spec.PodManagementPolicy {
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	case "":
		errs = append(errs, field.Required(specPath.Child("podManagementPolicy"), ""))
	default:
		errs = append(errs, field.Invalid(specPath.Child("podManagementPolicy"), spec.PodManagementPolicy,
			fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)))
	}
	errs = append(errs, validateStatefulSetStrategy(specPath.Child("updateStrategy"), &spec.UpdateStrategy)...)
	errs = append(errs, validateRetention(specPath.Child("persistentVolumeClaimRetentionPolicy"), spec.PersistentVolumeClaimRetentionPolicy)...)
	if !allow.claims {
		for i := range spec.VolumeClaimTemplates {
			errs = append(errs, core.ValidateNewClaimSpec(specPath.Child("volumeClaimTemplates").Index(i).Child("spec"), &spec.VolumeClaimTemplates[i].Spec)...)
		}
	}
	errs = append(errs, check.NotNegative(specPath.Child("replicas"), ptr.Deref(spec.Replicas, 0))...)
	errs = append(errs, check.NotNegative(specPath.Child("minReadySeconds"), spec.MinReadySeconds)...)
	if spec.Ordinals != nil {
		errs = append(errs, check.NotNegative(specPath.Child("ordinals.start"), spec.Ordinals.Start)...)
	}
	if !allow.serviceName && spec.ServiceName != "" {
		errs = append(errs, check.DNSLabel(specPath.Child("serviceName"), spec.ServiceName)...)
	}
	errs = append(errs, validateSelector(specPath.Child("selector"), spec.Selector, "statefulset")...)
	errs = append(errs, validateStatefulSetTemplate(spec, allow)...)
	return append(errs, validateLongRunning(templatePath, &spec.Template.Spec, "StatefulSet")...)
}

func validateStatefulSetStrategy(p *field.Path, s *appsv1.StatefulSetUpdateStrategy) field.ErrorList {
	rolling := p.Child("rollingUpdate")
	switch {
	case s.Type == "":
		return field.ErrorList{field.Required(p, "")}
	case s.Type == appsv1.OnDeleteStatefulSetStrategyType && s.RollingUpdate != nil:
		return field.ErrorList{field.Invalid(rolling, check.Internal(s.RollingUpdate),
			fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType))}
	case s.Type == appsv1.OnDeleteStatefulSetStrategyType:
		return nil
	case s.Type != appsv1.RollingUpdateStatefulSetStrategyType:
		return field.ErrorList{field.Invalid(p, check.Internal(s),
			fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))}
	case s.RollingUpdate == nil:
		return nil
	}
	errs := check.NotNegative(rolling.Child("partition"), ptr.Deref(s.RollingUpdate.Partition, 0))
	if unavailable := s.RollingUpdate.MaxUnavailable; unavailable != nil {
		at := rolling.Child("maxUnavailable")
		errs = append(errs, check.IntOrPercent(at, *unavailable)...)
		if check.Amount(*unavailable) == 0 {
			errs = append(errs, field.Invalid(at, *unavailable, "cannot be 0"))
		}
		errs = append(errs, check.NotAbove100Percent(at, *unavailable)...)
	}
	return errs
}

func validateRetention(p *field.Path, policy *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy) field.ErrorList {
	if policy == nil {
		return nil
	}
	keep, remove := appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	errs := check.OneOf(p.Child("whenDeleted"), policy.WhenDeleted, keep, remove)
	return append(errs, check.OneOf(p.Child("whenScaled"), policy.WhenScaled, keep, remove)...)
}

func validateStatefulSetTemplate(spec *appsv1.StatefulSetSpec, allow statefulSetAllowances) field.ErrorList {
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err != nil {
		return field.ErrorList{field.Invalid(specPath.Child("selector"), spec.Selector, "")}
	}
	template := templateOfPods(spec)
	errs := validateMatch(templatePath, template, selector)
	if !allow.template {
		errs = append(errs, core.ValidatePodTemplate(templatePath, template, allow.Allowances)...)
	}
	return append(errs, core.ValidatePodTemplateMeta(templatePath, template, allow.Allowances)...)
}

// templateOfPods is the template as the controller uses it: the host name is
// its own, and each claim template stands for a volume.
func templateOfPods(spec *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	template := spec.Template.DeepCopy()
	template.Spec.Subdomain, template.Spec.Hostname = "", ""
	if len(spec.VolumeClaimTemplates) == 0 {
		return template
	}
	var volumes []corev1.Volume
	named := func(name string) bool {
		return slices.ContainsFunc(volumes, func(v corev1.Volume) bool { return v.Name == name })
	}
	for i := range spec.VolumeClaimTemplates {
		name := spec.VolumeClaimTemplates[i].Name
		if !named(name) {
			claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}
			volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: claim}})
		}
	}
	claims := len(volumes)
	for _, volume := range template.Spec.Volumes {
		if !slices.ContainsFunc(volumes[:claims], func(v corev1.Volume) bool { return v.Name == volume.Name }) {
			volumes = append(volumes, volume)
		}
	}
	template.Spec.Volumes = volumes
	return template
}

func validateStatefulSetUpdate(s, old *appsv1.StatefulSet) field.ErrorList {
	allow := statefulSetAllowances{Allowances: core.TemplateAllowances(&old.Spec.Template), serviceName: true, claims: true}
	// A set whose template was let in by a former version stays updatable.
	allow.template = len(validateStatefulSet(&old.Spec, allow)) > 0
	errs := validateStatefulSet(&s.Spec, allow)
	errs = append(errs, check.Unchanged(specPath.Child("selector"), s.Spec.Selector, old.Spec.Selector)...)
	errs = append(errs, check.Unchanged(specPath.Child("volumeClaimTemplates"), s.Spec.VolumeClaimTemplates, old.Spec.VolumeClaimTemplates)...)
	errs = append(errs, check.Unchanged(specPath.Child("serviceName"), s.Spec.ServiceName, old.Spec.ServiceName)...)
	return append(errs, check.Unchanged(specPath.Child("podManagementPolicy"), s.Spec.PodManagementPolicy, old.Spec.PodManagementPolicy)...)
}

func validateStatefulSetStatus(s, old *appsv1.StatefulSet) field.ErrorList {
	status := &s.Status
	ready := check.Count{Child: "readyReplicas", Value: status.ReadyReplicas}
	current := check.Count{Child: "currentReplicas", Value: status.CurrentReplicas}
	updated := check.Count{Child: "updatedReplicas", Value: status.UpdatedReplicas}
	available := check.Count{Child: "availableReplicas", Value: status.AvailableReplicas}
	errs := check.Counts(statusPath, check.Count{Child: "replicas", Value: status.Replicas}, ready, current, updated, available)
	errs = append(errs, check.NotNegative(statusPath.Child("observedGeneration"), status.ObservedGeneration)...)
	errs = append(errs, check.NotNegative(statusPath.Child("collisionCount"), ptr.Deref(status.CollisionCount, 0))...)
	errs = append(errs, check.CountsAtMost(statusPath, status.Replicas, aboveReplicas, ready, current, updated, available)...)
	errs = append(errs, check.CountsAtMost(statusPath, status.ReadyReplicas, "cannot be greater than status.readyReplicas", available)...)
	return append(errs, check.NotDecremented(statusPath.Child("collisionCount"), status.CollisionCount, old.Status.CollisionCount)...)
}
