package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// StatefulSet is the behaviour of apps/v1 StatefulSet.
func StatefulSet() strategy.Kind[*appsv1.StatefulSet] {
	containers, images := cells.Workload()
	return strategy.Kind[*appsv1.StatefulSet]{
		Default: defaultStatefulSet,
		PrepareCreate: func(s *appsv1.StatefulSet) {
			s.Status = appsv1.StatefulSetStatus{}
			s.Generation = 1
			core.DropDisabledTemplateFields(&s.Spec.Template)
		},
		PrepareUpdate: func(s, old *appsv1.StatefulSet) {
			s.Status = old.Status
			core.DropDisabledTemplateFields(&s.Spec.Template)
			strategy.Generation(s, old, !equality.Semantic.DeepEqual(s.Spec, old.Spec))
		},
		ValidateCreate: func(s *appsv1.StatefulSet) field.ErrorList {
			return validateStatefulSet(&s.Spec, statefulSetAllowances{Allowances: core.TemplateAllowances(nil)})
		},
		ValidateUpdate: validateStatefulSetUpdate,
		// Pods are named after the set, and their names are host names.
		NameRule: apivalidation.NameIsDNSLabel,
		Status: &strategy.Sub[*appsv1.StatefulSet]{
			PrepareUpdate:  func(s, old *appsv1.StatefulSet) { s.Spec = old.Spec },
			ValidateUpdate: validateStatefulSetStatus,
		},
		Scale: &strategy.Scale[*appsv1.StatefulSet]{
			Replicas:       func(s *appsv1.StatefulSet) int32 { return ptr.Deref(s.Spec.Replicas, 0) },
			SetReplicas:    func(s *appsv1.StatefulSet, n int32) { s.Spec.Replicas = &n },
			StatusReplicas: func(s *appsv1.StatefulSet) int32 { return s.Status.Replicas },
			Selector:       func(s *appsv1.StatefulSet) (string, error) { return selectorString(s.Spec.Selector) },
		},
		Warnings:                 statefulSetWarnings,
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Ready", "Number of the pod with ready state"),
			cells.Age(), containers, images,
		),
		Cells: func(s *appsv1.StatefulSet) []any {
			names, images := cells.Containers(s.Spec.Template.Spec.Containers)
			return []any{s.Name, readyOf(s.Status.ReadyReplicas, s.Spec.Replicas), cells.AgeOf(s), names, images}
		},
	}
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	spec := &s.Spec
	core.DefaultPodTemplate(&spec.Template)
	kinds.For[*appsv1.StatefulSet]().Complete(s)
	for i := range spec.VolumeClaimTemplates {
		core.DefaultClaim(&spec.VolumeClaimTemplates[i])
	}
	defaultTo(&spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	defaultStatefulSetStrategy(&spec.UpdateStrategy)
	if spec.PersistentVolumeClaimRetentionPolicy == nil {
		spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	defaultTo(&spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	defaultTo(&spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	defaultInt32(&spec.Replicas, 1)
	defaultInt32(&spec.RevisionHistoryLimit, defaultHistoryLimit)
}

func defaultStatefulSetStrategy(s *appsv1.StatefulSetUpdateStrategy) {
	if s.Type == "" {
		s.Type = appsv1.RollingUpdateStatefulSetStrategyType
		if s.RollingUpdate == nil {
			s.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
	}
	if s.Type == appsv1.RollingUpdateStatefulSetStrategyType && s.RollingUpdate != nil {
		defaultInt32(&s.RollingUpdate.Partition, 0)
		defaultAmount(&s.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
}

func statefulSetWarnings(s, old *appsv1.StatefulSet) []string {
	warnings := templateWarnings(&s.Spec.Template, old == nil || old.Generation != s.Generation)
	for i := range s.Spec.VolumeClaimTemplates {
		p := specPath.Child("volumeClaimTemplates").Index(i)
		if old != nil {
			p = p.Child("Spec")
		}
		warnings = append(warnings, core.ClaimSpecWarnings(p, &s.Spec.VolumeClaimTemplates[i].Spec)...)
	}
	if limit := s.Spec.RevisionHistoryLimit; limit != nil && *limit < 0 {
		warnings = append(warnings, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return warnings
}
