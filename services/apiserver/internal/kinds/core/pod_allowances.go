package core

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// Allowances are what an update is forgiven because the stored object has it
// already: an object that was valid once must stay updatable. On create all
// are false, but for Template.
type Allowances struct {
	// Template says that the spec belongs to a template and not to a pod.
	Template bool

	IndivisibleHugePages       bool
	InvalidSelectorValues      bool
	InvalidNodeAffinityValues  bool
	InvalidSpreadSelector      bool
	UnmergedSpreadKeys         bool
	NonLocalTokenPath          bool
	HostSysctls                bool
	RestartingInitResize       bool
	UserNamespaceWithDevices   bool
	UserNamespaceOnHostNetwork bool
	EmptyImageReference        bool
	SysAdminWithoutEscalation  bool
	InvalidDeletionCost        bool
}

// PodAllowances derives them for a pod; old is nil on create.
func PodAllowances(old *corev1.Pod) Allowances {
	if old == nil {
		return Allowances{}
	}
	return allowancesFor(&old.Spec, &old.ObjectMeta)
}

// TemplateAllowances derives them for a template; old is nil on create.
func TemplateAllowances(old *corev1.PodTemplateSpec) Allowances {
	if old == nil {
		return Allowances{Template: true}
	}
	allow := allowancesFor(&old.Spec, &old.ObjectMeta)
	allow.Template = true
	return allow
}

func allowancesFor(spec *corev1.PodSpec, meta *metav1.ObjectMeta) Allowances {
	allow := Allowances{
		IndivisibleHugePages:       usesIndivisibleHugePages(spec),
		UserNamespaceOnHostNetwork: spec.HostUsers != nil && !*spec.HostUsers && spec.HostNetwork,
		InvalidDeletionCost:        !validDeletionCost(meta.Annotations),
	}
	allowAffinity(spec, &allow)
	for i := range spec.Volumes {
		volume := &spec.Volumes[i]
		if volume.Image != nil && volume.Image.Reference == "" {
			allow.EmptyImageReference = true
		}
		if volume.Projected == nil {
			continue
		}
		for j := range volume.Projected.Sources {
			token := volume.Projected.Sources[j].ServiceAccountToken
			if token != nil && len(check.NotReserved(nil, token.Path)) > 0 {
				allow.NonLocalTokenPath = true
			}
		}
	}
	if sc := spec.SecurityContext; sc != nil {
		for _, s := range sc.Sysctls {
			allow.HostSysctls = allow.HostSysctls || len(validateHostSysctl(nil, s.Name, spec)) > 0
		}
	}
	for ctr := range containers(spec, nil) {
		if len(ctr.VolumeDevices) > 0 && spec.HostUsers != nil && !*spec.HostUsers {
			allow.UserNamespaceWithDevices = true
		}
		allow.SysAdminWithoutEscalation = allow.SysAdminWithoutEscalation || sysAdminWithoutEscalation(ctr.SecurityContext)
	}
	for i := range spec.InitContainers {
		for _, policy := range spec.InitContainers[i].ResizePolicy {
			if !isSidecar(&spec.InitContainers[i]) && policy.RestartPolicy == corev1.RestartContainer {
				allow.RestartingInitResize = true
			}
		}
	}
	return allow
}

func allowAffinity(spec *corev1.PodSpec, allow *Allowances) {
	for i := range spec.TopologySpreadConstraints {
		c := &spec.TopologySpreadConstraints[i]
		allow.InvalidSpreadSelector = allow.InvalidSpreadSelector || len(check.Selector(nil, c.LabelSelector, false)) > 0
		allow.UnmergedSpreadKeys = allow.UnmergedSpreadKeys || len(validateMatchLabelKeys(nil, c.MatchLabelKeys, nil, c.LabelSelector)) > 0
	}
	if spec.Affinity == nil {
		return
	}
	if a := spec.Affinity.NodeAffinity; a != nil && a.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		allow.InvalidNodeAffinityValues = hasInvalidLabelValues(a.RequiredDuringSchedulingIgnoredDuringExecution)
	}
	for term := range podTerms(spec.Affinity) {
		allow.InvalidSelectorValues = allow.InvalidSelectorValues || len(validatePodTermSelectors(nil, term, false)) > 0
	}
}

// hasInvalidLabelValues looks for values that no node's label can have.
func hasInvalidLabelValues(selector *corev1.NodeSelector) bool {
	for i := range selector.NodeSelectorTerms {
		for j := range selector.NodeSelectorTerms[i].MatchExpressions {
			r := &selector.NodeSelectorTerms[i].MatchExpressions[j]
			if len(validateNodeExpression(nil, r, false)) > len(validateNodeExpression(nil, r, true)) {
				return true
			}
		}
	}
	return false
}

func usesIndivisibleHugePages(spec *corev1.PodSpec) bool {
	if hasIndivisible(spec.Overhead) {
		return true
	}
	for ctr := range containers(spec, nil) {
		if hasIndivisible(ctr.Resources.Limits) || hasIndivisible(ctr.Resources.Requests) {
			return true
		}
	}
	return false
}

func hasIndivisible(list corev1.ResourceList) bool {
	for name, quantity := range list {
		if isHugePages(name) && !divisibleHugePages(name, quantity) {
			return true
		}
	}
	return false
}

func sysAdminWithoutEscalation(sc *corev1.SecurityContext) bool {
	if sc == nil || sc.Capabilities == nil || (sc.AllowPrivilegeEscalation != nil && *sc.AllowPrivilegeEscalation) {
		return false
	}
	for _, capability := range sc.Capabilities.Add {
		if capability == "CAP_SYS_ADMIN" {
			return true
		}
	}
	return false
}

// validDeletionCost allows one way only to write a number: no sign but a
// minus, no leading zeros.
func validDeletionCost(annotations map[string]string) bool {
	value, set := annotations[corev1.PodDeletionCost]
	if !set {
		return true
	}
	if value == "" || value[0] == '+' || (value[0] == '0' && value != "0") {
		return false
	}
	_, err := strconv.ParseInt(value, 10, 32)
	return err == nil
}

// validatePodAnnotations checks annotations of pods that mean something to
// Kubernetes.
func validatePodAnnotations(p *field.Path, annotations map[string]string, spec *corev1.PodSpec, allow Allowances) field.ErrorList {
	var errs field.ErrorList
	if value, mirror := annotations[corev1.MirrorPodAnnotationKey]; mirror && spec.NodeName == "" {
		errs = append(errs, field.Invalid(p.Key(corev1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set"))
	}
	errs = append(errs, validateTolerationsAnnotation(p, annotations)...)
	if !allow.InvalidDeletionCost && !validDeletionCost(annotations) {
		errs = append(errs, field.Invalid(p.Key(corev1.PodDeletionCost), annotations[corev1.PodDeletionCost], "must be a 32bit integer"))
	}
	return append(errs, validateProfileAnnotations(p, annotations, spec)...)
}
