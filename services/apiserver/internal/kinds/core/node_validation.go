package core

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const taintsAnnotation = "scheduler.alpha.kubernetes.io/taints"

var declaredFeature = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(\/[a-zA-Z][a-zA-Z0-9]*)*$`)

func validateNode(n *corev1.Node) field.ErrorList {
	errs := validateNodeAnnotations(n)
	errs = append(errs, validateTaints(metadataPath.Child("taints"), n.Spec.Taints)...)
	errs = append(errs, validateNodeResources(n)...)
	if swap := n.Status.NodeInfo.Swap; swap != nil && swap.Capacity != nil {
		errs = append(errs, check.Positive(metadataPath.Child("nodeSwapStatus", "capacity"), *swap.Capacity)...)
	}
	errs = append(errs, validateDeclaredFeatures(statusPath.Child("declaredFeatures"), n.Status.DeclaredFeatures)...)
	return append(errs, validatePodCIDRs(specPath.Child("podCIDRs"), n.Spec.PodCIDRs)...)
}

func validatePodCIDRs(p *field.Path, cidrs []string) field.ErrorList {
	var errs field.ErrorList
	for i, cidr := range cidrs {
		errs = append(errs, check.CIDR(p.Index(i), cidr)...)
	}
	if len(cidrs) < 2 {
		return errs
	}
	dual, err := netutils.IsDualStackCIDRStrings(cidrs)
	if err != nil {
		errs = append(errs, field.InternalError(p, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%w", err)))
	}
	if !dual || len(cidrs) > 2 {
		errs = append(errs, field.Invalid(p, cidrs, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

func validateNodeAnnotations(n *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	p := metadataPath.Child("annotations")
	if encoded := n.Annotations[taintsAnnotation]; encoded != "" {
		var taints []corev1.Taint
		if err := json.Unmarshal([]byte(encoded), &taints); err != nil {
			errs = append(errs, field.Invalid(p, taintsAnnotation, err.Error()))
		} else {
			errs = append(errs, validateTaints(p.Child(taintsAnnotation), taints)...)
		}
	}
	return append(errs, validateAvoidPods(p, n.Annotations[corev1.PreferAvoidPodsAnnotationKey])...)
}

// validateAvoidPods checks an annotation that names controllers whose pods had
// better run elsewhere. Nothing reads it any more.
func validateAvoidPods(p *field.Path, encoded string) field.ErrorList {
	if encoded == "" {
		return nil
	}
	const key = corev1.PreferAvoidPodsAnnotationKey
	var avoid corev1.AvoidPods
	if err := json.Unmarshal([]byte(encoded), &avoid); err != nil {
		return field.ErrorList{field.Invalid(p.Child("AvoidPods"), key, err.Error())}
	}
	var errs field.ErrorList
	for i, entry := range avoid.PreferAvoidPods {
		at, owner := p.Child(key).Index(i).Child("PodSignature"), entry.PodSignature.PodController
		switch {
		case owner == nil:
			errs = append(errs, field.Required(at, ""))
		case owner.Controller == nil || !*owner.Controller:
			errs = append(errs, field.Invalid(at.Child("PodController", "Controller"), false, "must point to a controller"))
		}
	}
	return errs
}

func validateTaints(p *field.Path, taints []corev1.Taint) field.ErrorList {
	var errs field.ErrorList
	seen := sets.Set[[2]string]{}
	for i, t := range taints {
		at := p.Index(i)
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		if wrong := validation.IsValidLabelValue(t.Value); len(wrong) > 0 {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, strings.Join(wrong, ";")))
		}
		errs = append(errs, validateTaintEffect(at.Child("effect"), t.Effect)...)
		key := [2]string{t.Key, string(t.Effect)}
		if seen.Has(key) {
			duplicate := field.Duplicate(at, check.Internal(t))
			duplicate.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, duplicate)
		}
		seen.Insert(key)
	}
	return errs
}

func validateNodeResources(n *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(n.Status.Capacity) {
		errs = append(errs, validateQuantity(statusPath.Child("capacity", string(name)), name, n.Status.Capacity[name])...)
	}
	for _, name := range sortedKeys(n.Status.Allocatable) {
		errs = append(errs, validateQuantity(statusPath.Child("allocatable", string(name)), name, n.Status.Allocatable[name])...)
	}
	return errs
}

func validateDeclaredFeatures(p *field.Path, features []string) field.ErrorList {
	var errs field.ErrorList
	for i, feature := range features {
		switch {
		case len(feature) > validation.DNS1123SubdomainMaxLength:
			errs = append(errs, field.Invalid(p.Index(i), feature,
				fmt.Sprintf("invalid feature name %q: must be no more than %d characters", feature, validation.DNS1123SubdomainMaxLength)))
		case !declaredFeature.MatchString(feature):
			errs = append(errs, field.Invalid(p.Index(i), feature, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, "+
				"with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", feature)))
		}
		if i+1 == len(features) {
			break
		}
		switch next := features[i+1]; {
		case feature == next:
			errs = append(errs, field.Duplicate(p.Index(i+1), next))
		case feature > next:
			errs = append(errs, field.Invalid(p.Index(i+1), next, "list must be sorted alphabetically"))
		}
	}
	return errs
}

// validateNodeUpdate says some things twice, as upstream does.
func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	return append(validateNode(n), validateNodeStatus(n, old)...)
}

func validateNodeStatus(n, old *corev1.Node) field.ErrorList {
	errs := validateNodeAnnotations(n)
	errs = append(errs, validateNodeResources(n)...)
	errs = append(errs, validateDeclaredFeatures(statusPath.Child("declaredFeatures"), n.Status.DeclaredFeatures)...)
	addresses := sets.Set[corev1.NodeAddress]{}
	for i, address := range n.Status.Addresses {
		if addresses.Has(address) {
			errs = append(errs, field.Duplicate(statusPath.Child("addresses").Index(i), check.Internal(address)))
		}
		addresses.Insert(address)
	}
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(old.Spec.PodCIDRs, n.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(specPath.Child("podCIDRs"), `node updates may not change podCIDR except from "" to valid`))
	}
	if was, is := old.Spec.ProviderID, n.Spec.ProviderID; was != "" && was != is {
		detail := "field cannot be modified once set"
		if is == "" {
			detail = "field cannot be cleared once set"
		}
		errs = append(errs, field.Invalid(specPath.Child("providerID"), nil, detail))
	}
	errs = append(errs, validateNodeConfig(n)...)
	errs = append(errs, validateTaints(metadataPath.Child("taints"), n.Spec.Taints)...)
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		errs = append(errs, field.Forbidden(specPath.Child("externalID"), "may not be updated"))
	}
	return errs
}

// validateNodeConfig is for nodes that still have a dynamic configuration.
func validateNodeConfig(n *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	if n.Spec.ConfigSource != nil {
		errs = append(errs, validateConfigSource(specPath.Child("configSource"), n.Spec.ConfigSource, false)...)
	}
	if config := n.Status.Config; config != nil {
		for _, source := range []struct {
			child  string
			source *corev1.NodeConfigSource
		}{{"assigned", config.Assigned}, {"active", config.Active}, {"lastKnownGood", config.LastKnownGood}} {
			if source.source != nil {
				errs = append(errs, validateConfigSource(statusPath.Child("config", source.child), source.source, true)...)
			}
		}
	}
	return errs
}

func validateConfigSource(p *field.Path, source *corev1.NodeConfigSource, resolved bool) field.ErrorList {
	ref, at := source.ConfigMap, p.Child("configMap")
	if ref == nil {
		return field.ErrorList{field.Invalid(p, check.Internal(source), "exactly one reference subfield must be non-nil")}
	}
	var errs field.ErrorList
	if resolved {
		errs = append(errs, check.Set(at, "uid", string(ref.UID), "resourceVersion", ref.ResourceVersion)...)
	} else {
		if ref.UID != "" {
			errs = append(errs, field.Forbidden(at.Child("uid"), "uid must not be set in spec"))
		}
		if ref.ResourceVersion != "" {
			errs = append(errs, field.Forbidden(at.Child("resourceVersion"), "resourceVersion must not be set in spec"))
		}
	}
	for _, part := range []struct {
		child, value string
		rule         func(string) []string
	}{
		{"namespace", ref.Namespace, func(s string) []string { return apivalidation.ValidateNamespaceName(s, false) }},
		{"name", ref.Name, func(s string) []string { return apivalidation.NameIsDNSSubdomain(s, false) }},
		{"kubeletConfigKey", ref.KubeletConfigKey, validation.IsConfigMapKey},
	} {
		if part.value == "" {
			errs = append(errs, field.Required(at.Child(part.child), ""))
			continue
		}
		errs = append(errs, check.All(at.Child(part.child), part.value, part.rule(part.value))...)
	}
	return errs
}
