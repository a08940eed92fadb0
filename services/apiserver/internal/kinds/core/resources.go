package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// Resources whose names need no domain in front.
var (
	countedResources = sets.New(
		corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers)
	containerResources = sets.New(corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage)
	quotaResources     = sets.New(
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceRequestsStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
	).Union(containerResources).Union(countedResources)
)

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func isQuotaHugePages(name corev1.ResourceName) bool {
	return isHugePages(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// isNative tells Kubernetes' own resources from those of others.
func isNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// isExtended tells resources of others, whose name must also be one with the
// prefix that quotas put before it.
func isExtended(name corev1.ResourceName) bool {
	if isNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

func mayOvercommit(name corev1.ResourceName) bool { return isNative(name) && !isHugePages(name) }

// divisibleHugePages tells whether a quantity is a number of whole pages of
// the size that the resource is named after.
func divisibleHugePages(name corev1.ResourceName, quantity resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil || size.Sign() <= 0 || size.MilliValue()%1000 != 0 {
		return false
	}
	return quantity.Value()%size.Value() == 0
}

// validateResourceName checks the name of a resource of any use.
func validateResourceName(p *field.Path, name corev1.ResourceName) field.ErrorList {
	errs := check.All(p, string(name), validation.IsQualifiedName(string(name)))
	if len(errs) > 0 || strings.Contains(string(name), "/") {
		return errs
	}
	if name != corev1.ResourceStorage && !quotaResources.Has(name) && !isQuotaHugePages(name) {
		errs = append(errs, field.Invalid(p, string(name), "must be a standard resource type or fully qualified"))
	}
	return errs
}

// ValidateContainerResource checks the name of what a container may ask for.
func ValidateContainerResource(p *field.Path, name corev1.ResourceName) field.ErrorList {
	errs := validateResourceName(p, name)
	switch {
	case !strings.Contains(string(name), "/"):
		if !containerResources.Has(name) && !isHugePages(name) {
			errs = append(errs, field.Invalid(p, string(name), "must be a standard resource for containers"))
		}
	case !isNative(name) && !isExtended(name):
		errs = append(errs, field.Invalid(p, string(name), "doesn't follow extended resource name standard"))
	}
	return errs
}

func validatePodResource(p *field.Path, name corev1.ResourceName) field.ErrorList {
	if errs := validateResourceName(p, name); len(errs) > 0 {
		return errs
	}
	if resourcehelper.IsSupportedPodLevelResource(name) {
		return nil
	}
	supported := resourcehelper.SupportedPodLevelResources().UnsortedList()
	slices.Sort(supported)
	return field.ErrorList{field.NotSupported(p, name, supported)}
}

// validateQuantity refuses negative amounts, and fractions of what is counted.
func validateQuantity(p *field.Path, name corev1.ResourceName, quantity resource.Quantity) field.ErrorList {
	errs := check.QuantityNotNegative(p, quantity)
	if (countedResources.Has(name) || isExtended(name)) && quantity.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(p, quantity, check.NotInteger))
	}
	return errs
}
