package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// validateRequirements checks requests and limits; name is the rule for the
// resources' names, which differs between containers and pods.
func validateRequirements(
	p *field.Path, r *corev1.ResourceRequirements, name func(*field.Path, corev1.ResourceName) field.ErrorList,
	claims sets.Set[string], indivisibleHugePages bool,
) field.ErrorList {
	var errs field.ErrorList
	compute, hugePages := false, false
	for _, resource := range sortedKeys(r.Limits) {
		at, quantity := p.Child("limits").Key(string(resource)), r.Limits[resource]
		errs = append(errs, name(at, resource)...)
		errs = append(errs, validateQuantity(at, resource, quantity)...)
		if isHugePages(resource) {
			hugePages = true
			if !indivisibleHugePages && !divisibleHugePages(resource, quantity) {
				errs = append(errs, field.Invalid(at, quantity.String(), fmt.Sprintf("%s is not positive integer multiple of %s", quantity.String(), resource)))
			}
		}
		compute = compute || resource == corev1.ResourceCPU || resource == corev1.ResourceMemory
	}
	for _, resource := range sortedKeys(r.Requests) {
		at, quantity := p.Child("requests").Key(string(resource)), r.Requests[resource]
		errs = append(errs, name(at, resource)...)
		errs = append(errs, validateQuantity(at, resource, quantity)...)
		errs = append(errs, validateRequestWithinLimit(p, r, resource)...)
		if isHugePages(resource) {
			hugePages = true
			if !indivisibleHugePages && !divisibleHugePages(resource, quantity) {
				errs = append(errs, field.Invalid(at, quantity.String(), fmt.Sprintf("%s is not positive integer multiple of %s", quantity.String(), resource)))
			}
		}
		compute = compute || resource == corev1.ResourceCPU || resource == corev1.ResourceMemory
	}
	if hugePages && !compute {
		errs = append(errs, field.Forbidden(p, "HugePages require cpu or memory"))
	}
	return append(errs, validateClaimReferences(p.Child("claims"), r.Claims, claims)...)
}

// ValidateLimits checks what something other than a container may use at most.
func ValidateLimits(p *field.Path, limits corev1.ResourceList) field.ErrorList {
	return validateRequirements(p, &corev1.ResourceRequirements{Limits: limits}, ValidateContainerResource, nil, false)
}

func validateRequestWithinLimit(p *field.Path, r *corev1.ResourceRequirements, resource corev1.ResourceName) field.ErrorList {
	at, request := p.Child("requests"), r.Requests[resource]
	limit, limited := r.Limits[resource]
	switch {
	case !limited && mayOvercommit(resource):
	case !limited:
		return field.ErrorList{field.Required(p.Child("limits"), "Limit must be set for non overcommitable resources")}
	case !mayOvercommit(resource) && request.Cmp(limit) != 0:
		return field.ErrorList{field.Invalid(at, request.String(), fmt.Sprintf("must be equal to %s limit of %s", resource, limit.String()))}
	case request.Cmp(limit) > 0:
		return field.ErrorList{field.Invalid(at, request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", resource, limit.String()))}
	}
	return nil
}

// validateClaimReferences checks which of the pod's resource claims, or
// requests in them, a container uses: none twice.
func validateClaimReferences(p *field.Path, refs []corev1.ResourceClaim, claims sets.Set[string]) field.ErrorList {
	var errs field.ErrorList
	whole, parts, used := sets.Set[string]{}, sets.Set[string]{}, map[string]int{}
	for i, ref := range refs {
		at := p.Index(i)
		if ref.Name == "" {
			errs = append(errs, field.Required(at, ""))
			continue
		}
		switch key := ref.Name + "/" + ref.Request; {
		case whole.Has(ref.Name):
			errs = append(errs, field.Duplicate(at, ref.Name))
		case ref.Request == "":
			for range used[ref.Name] {
				errs = append(errs, field.Duplicate(at, ref.Name))
			}
			whole.Insert(ref.Name)
		default:
			errs = append(errs, check.DNSLabel(at.Child("request"), ref.Request)...)
			if parts.Has(key) {
				errs = append(errs, field.Duplicate(at, key))
			} else {
				used[ref.Name]++
			}
			parts.Insert(key)
		}
		if !claims.Has(ref.Name) {
			missing := field.NotFound(at, ref.Name)
			missing.Detail = "must be one of the names in pod.spec.resourceClaims which is empty"
			if len(claims) > 0 {
				missing.Detail = "must be one of the names in pod.spec.resourceClaims: " + strings.Join(sets.List(claims), ", ")
			}
			errs = append(errs, missing)
		}
	}
	return errs
}

func claimNames(claims []corev1.PodResourceClaim) sets.Set[string] {
	names := sets.Set[string]{}
	for _, claim := range claims {
		if claim.Name != "" {
			names.Insert(claim.Name)
		}
	}
	return names
}

func validatePodClaims(p *field.Path, meta *metav1.ObjectMeta, claims []corev1.PodResourceClaim) field.ErrorList {
	var errs field.ErrorList
	names := sets.Set[string]{}
	for i, claim := range claims {
		at := p.Index(i)
		if isMirror(meta) {
			errs = append(errs, field.Forbidden(field.NewPath(""), "static pods do not support resource claims"))
			continue
		}
		switch {
		case claim.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case names.Has(claim.Name):
			errs = append(errs, field.Duplicate(at.Child("name"), claim.Name))
		default:
			errs = append(errs, check.DNSLabel(at.Child("name"), claim.Name)...)
			names.Insert(claim.Name)
		}
		switch {
		case claim.ResourceClaimName != nil && claim.ResourceClaimTemplateName != nil:
			errs = append(errs, field.Invalid(at, check.Internal(claim), "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		case claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil:
			errs = append(errs, field.Invalid(at, check.Internal(claim), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
		if claim.ResourceClaimName != nil {
			errs = append(errs, check.Name(at.Child("resourceClaimName"), *claim.ResourceClaimName, apivalidation.NameIsDNSSubdomain)...)
		}
		if claim.ResourceClaimTemplateName != nil {
			errs = append(errs, check.Name(at.Child("resourceClaimTemplateName"), *claim.ResourceClaimTemplateName, apivalidation.NameIsDNSSubdomain)...)
		}
	}
	return errs
}

// isMirror tells the API's image of a pod that a kubelet runs from a file.
func isMirror(meta *metav1.ObjectMeta) bool {
	if meta == nil {
		return false
	}
	_, mirror := meta.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

// validatePodResources checks the resources of the pod as a whole, against
// those of its containers too.
func validatePodResources(p *field.Path, spec *corev1.PodSpec, claims sets.Set[string], allow Allowances) field.ErrorList {
	if spec.Resources == nil {
		return nil
	}
	at := p.Child("resources")
	if spec.OS != nil && spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(at, "may not be set for a windows pod")}
	}
	var errs field.ErrorList
	if spec.Resources.Claims != nil {
		errs = append(errs, field.Forbidden(at.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	errs = append(errs, validateRequirements(at, spec.Resources, validatePodResource, claims, allow.IndivisibleHugePages)...)
	return append(errs, validatePodResourceSums(at, spec)...)
}

func validatePodResourceSums(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	pod := &corev1.Pod{Spec: *spec}
	requests := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range sortedKeys(requests) {
		own, set := spec.Resources.Requests[name]
		if sum := requests[name]; set && sum.Cmp(own) > 0 {
			errs = append(errs, field.Invalid(p.Child("requests").Key(string(name)), own.String(),
				"must be greater than or equal to aggregate container requests of "+sum.String()))
		}
	}
	limits := resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range sortedKeys(limits) {
		own, set := spec.Resources.Limits[name]
		if sum := limits[name]; isHugePages(name) && set && sum.Cmp(own) > 0 {
			errs = append(errs, field.Invalid(p.Child("limits").Key(string(name)), own.String(),
				"must be greater than or equal to aggregate container limits of "+sum.String()))
		}
	}
	for i := range spec.Containers {
		own := spec.Containers[i].Resources.Limits
		for _, name := range sortedKeys(own) {
			limit, set := spec.Resources.Limits[name]
			if quantity := own[name]; set && quantity.Cmp(limit) > 0 {
				errs = append(errs, field.Invalid(p.Child("containers").Index(i).Key(string(name)).Child("limits"), quantity.String(),
					"must be less than or equal to pod limits of "+limit.String()))
			}
		}
	}
	return errs
}
