package quota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	podresource "k8s.io/component-helpers/resource"
)

const requestPrefix = corev1.DefaultResourceRequestsPrefix

var (
	podCount = CountName(schema.GroupResource{Resource: "pods"})
	podNames = []corev1.ResourceName{
		podCount, corev1.ResourcePods,
		corev1.ResourceCPU, corev1.ResourceRequestsCPU, corev1.ResourceLimitsCPU,
		corev1.ResourceMemory, corev1.ResourceRequestsMemory, corev1.ResourceLimitsMemory,
		corev1.ResourceEphemeralStorage, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage,
	}
	// explicit are the resources that every container must ask for once they
	// have a quota: a rule from before there were classes of service, which
	// upstream keeps for these alone.
	explicit = []corev1.ResourceName{
		corev1.ResourceCPU, corev1.ResourceRequestsCPU, corev1.ResourceLimitsCPU,
		corev1.ResourceMemory, corev1.ResourceRequestsMemory, corev1.ResourceLimitsMemory,
	}
)

// pods is charged for what runs, and counted as long as it is stored.
var pods = &Evaluator{
	Resource: schema.GroupResource{Resource: "pods"},
	Names: func(hard []corev1.ResourceName, _ World) []corev1.ResourceName {
		out := both(hard, podNames)
		for _, name := range hard {
			if isHugePages(name) || isHugePages(unprefixed(name)) || isExtendedRequest(name) {
				out = append(out, name)
			}
		}
		return out
	},
	Usage: func(o Object, w World) corev1.ResourceList {
		p, ok := o.(*corev1.Pod)
		if !ok {
			return nil
		}
		return podUsage(p, w.Now)
	},
	Charged: podCharged,
	Missing: func(required []corev1.ResourceName, o Object) string {
		p, ok := o.(*corev1.Pod)
		if !ok || podresource.IsPodLevelResourcesSet(p) {
			return ""
		}
		return unspecified(p, both(required, explicit))
	},
	InScope: func(r Requirement, o Object) bool {
		p, ok := o.(*corev1.Pod)
		return ok && podInScope(r, p)
	},
}

// podCharged: beside a creation and a resize, a deadline given or taken moves a
// pod from one scope to another.
func podCharged(c Change, _ World) bool {
	switch c.Subresource {
	case "":
		was, isUpdate := c.Old.(*corev1.Pod)
		is, ok := c.Object.(*corev1.Pod)
		return ok && (!isUpdate || Terminating(was) != Terminating(is))
	case "resize":
		return c.Old != nil
	}
	return false
}

func podUsage(p *corev1.Pod, now time.Time) corev1.ResourceList {
	out := corev1.ResourceList{podCount: number(1)}
	if !Running(p, now) {
		return out
	}
	options := podresource.PodResourcesOptions{UseStatusResources: true}
	return Add(out, computed(podresource.PodRequests(p, options), podresource.PodLimits(p, options)))
}

// computed names requests and limits as quotas do.
func computed(requests, limits corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{corev1.ResourcePods: number(1)}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if x, ok := requests[name]; ok {
			out[name], out[requestPrefix+name] = x, x
		}
		if x, ok := limits[name]; ok {
			out["limits."+name] = x
		}
	}
	for name, x := range requests {
		if isHugePages(name) {
			out[name], out[requestPrefix+name] = x, x
		}
		if IsExtended(name) || strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix) {
			out[requestPrefix+name] = x
		}
	}
	return out
}

// unspecified lists the resources that some containers do not ask for.
func unspecified(p *corev1.Pod, required []corev1.ResourceName) string {
	var parts []string
	for _, name := range required {
		var containers []string
		for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range list {
				if _, ok := computed(list[i].Resources.Requests, list[i].Resources.Limits)[name]; !ok {
					containers = append(containers, list[i].Name)
				}
			}
		}
		if len(containers) > 0 {
			slices.Sort(containers)
			parts = append(parts, string(name)+" for: "+strings.Join(slices.Compact(containers), ","))
		}
	}
	return strings.Join(parts, "; ")
}

func podInScope(r Requirement, p *corev1.Pod) bool {
	switch r.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return Terminating(p)
	case corev1.ResourceQuotaScopeNotTerminating:
		return !Terminating(p)
	case corev1.ResourceQuotaScopeBestEffort:
		return BestEffort(p)
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !BestEffort(p)
	case corev1.ResourceQuotaScopePriorityClass:
		if class := p.Spec.PriorityClassName; class != "" {
			return chosen(r, class)
		}
		return chosen(r)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(p)
	}
	return false
}

// Terminating tells whether a pod has a deadline: the scope's name does not
// mean a pod that is being deleted.
func Terminating(p *corev1.Pod) bool {
	return p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
}

// Running tells whether a pod takes what it asks for: it has not ended, and is
// not one that should have gone long ago, as when its node is lost.
func Running(p *corev1.Pod, now time.Time) bool {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds == nil {
		return true
	}
	return !now.After(p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds) * time.Second))
}

// BestEffort goes by the class that the API server gave the pod; one without it
// has nothing of cpu and memory in any container.
func BestEffort(p *corev1.Pod) bool {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass == corev1.PodQOSBestEffort
	}
	if podresource.IsPodLevelResourcesSet(p) {
		return asksNothing(p.Spec.Resources)
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if !asksNothing(&list[i].Resources) {
				return false
			}
		}
	}
	return true
}

func asksNothing(r *corev1.ResourceRequirements) bool {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := r.Requests[name], r.Limits[name]
		if !request.IsZero() || !limit.IsZero() {
			return false
		}
	}
	return true
}

func crossesNamespaces(p *corev1.Pod) bool {
	a := p.Spec.Affinity
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	weighted := func(list []corev1.WeightedPodAffinityTerm) {
		for i := range list {
			terms = append(terms, list[i].PodAffinityTerm)
		}
	}
	if with := a.PodAffinity; with != nil {
		terms = append(terms, with.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(with.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if apart := a.PodAntiAffinity; apart != nil {
		terms = append(terms, apart.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(apart.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// unprefixed is a resource without "requests.", empty if it has no such prefix.
func unprefixed(name corev1.ResourceName) corev1.ResourceName {
	rest, ok := strings.CutPrefix(string(name), requestPrefix)
	if !ok {
		return ""
	}
	return corev1.ResourceName(rest)
}

func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// IsExtended tells resources of others than Kubernetes.
func IsExtended(name corev1.ResourceName) bool {
	return !isNative(name) && !strings.HasPrefix(string(name), requestPrefix) && len(validation.IsQualifiedName(requestPrefix+string(name))) == 0
}

// isExtendedRequest: such resources cannot be promised twice, so quotas know
// only their requests.
func isExtendedRequest(name corev1.ResourceName) bool {
	return unprefixed(name) != "" && (!isNative(name) || strings.HasPrefix(string(unprefixed(name)), resourcev1.ResourceDeviceClassPrefix))
}
