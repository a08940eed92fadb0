package autoscaling

import (
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
)

// metricTypes are in the order that upstream prints them in.
var metricTypes = []autoscalingv2.MetricSourceType{
	autoscalingv2.ContainerResourceMetricSourceType,
	autoscalingv2.ExternalMetricSourceType,
	autoscalingv2.ObjectMetricSourceType,
	autoscalingv2.PodsMetricSourceType,
	autoscalingv2.ResourceMetricSourceType,
}

func validateMetrics(p *field.Path, spec *autoscalingv2.HorizontalPodAutoscalerSpec, rule referenceRule) field.ErrorList {
	var errs field.ErrorList
	outside := false
	for i := range spec.Metrics {
		m := &spec.Metrics[i]
		errs = append(errs, validateMetric(p.Index(i), m, rule)...)
		outside = outside || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	// Without pods only a metric of something else can ask for the first one.
	if spec.MinReplicas != nil && *spec.MinReplicas == 0 && !outside {
		errs = append(errs, field.Forbidden(p, "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	return errs
}

func validateMetric(p *field.Path, m *autoscalingv2.MetricSpec, rule referenceRule) field.ErrorList {
	var errs field.ErrorList
	known := slices.Contains(metricTypes, m.Type)
	if m.Type == "" {
		errs = append(errs, field.Required(p.Child("type"), "must specify a metric source type"))
	}
	if !known {
		errs = append(errs, field.NotSupported(p.Child("type"), m.Type, metricTypes))
	}
	var set []string
	expected, populated := "", false
	for _, source := range metricSources(m, rule) {
		if source.set {
			if len(set) == 0 {
				errs = append(errs, source.validate(p.Child(source.child))...)
			}
			set = append(set, source.child)
		}
		if source.of == m.Type {
			expected, populated = source.child, source.set
		}
	}
	switch {
	case !known:
		errs = append(errs, field.NotSupported(p.Child("type"), m.Type, metricTypes))
	case !populated:
		errs = append(errs, field.Required(p.Child(expected), "must populate information for the given metric source"))
	}
	if len(set) != 1 {
		for _, child := range set {
			if child != expected {
				errs = append(errs, field.Forbidden(p.Child(child), "must populate the given metric source only"))
			}
		}
	}
	return errs
}

type metricSource struct {
	child    string
	of       autoscalingv2.MetricSourceType
	set      bool
	validate func(*field.Path) field.ErrorList
}

func metricSources(m *autoscalingv2.MetricSpec, rule referenceRule) []metricSource {
	return []metricSource{
		{"object", autoscalingv2.ObjectMetricSourceType, m.Object != nil, func(p *field.Path) field.ErrorList {
			errs := validateReference(p.Child("describedObject"), m.Object.DescribedObject, rule)
			errs = append(errs, validateIdentifier(p.Child("metric", "name"), m.Object.Metric)...)
			return append(errs, validateValues(p.Child("target"), m.Object.Target, "must set either a target value or averageValue")...)
		}},
		{"external", autoscalingv2.ExternalMetricSourceType, m.External != nil, func(p *field.Path) field.ErrorList {
			errs := validateIdentifier(p.Child("metric", "name"), m.External.Metric)
			errs = append(errs, validateValues(p.Child("target"), m.External.Target, "must set either a target value for metric or a per-pod target")...)
			if m.External.Target.Value != nil && m.External.Target.AverageValue != nil {
				errs = append(errs, field.Forbidden(p.Child("target", "value"), "may not set both a target value for metric and a per-pod target"))
			}
			return errs
		}},
		{"pods", autoscalingv2.PodsMetricSourceType, m.Pods != nil, func(p *field.Path) field.ErrorList {
			errs := validateIdentifier(p.Child("metric", "name"), m.Pods.Metric)
			errs = append(errs, validateTarget(p.Child("target"), m.Pods.Target)...)
			if m.Pods.Target.AverageValue == nil {
				errs = append(errs, field.Required(p.Child("target", "averageValue"), "must specify a positive target averageValue"))
			}
			return errs
		}},
		{"resource", autoscalingv2.ResourceMetricSourceType, m.Resource != nil, func(p *field.Path) field.ErrorList {
			var errs field.ErrorList
			if m.Resource.Name == "" {
				errs = append(errs, field.Required(p.Child("name"), "must specify a resource name"))
			}
			return append(errs, validateUsage(p.Child("target"), m.Resource.Target)...)
		}},
		{"containerResource", autoscalingv2.ContainerResourceMetricSourceType, m.ContainerResource != nil, func(p *field.Path) field.ErrorList {
			errs := validateContainerOf(p, m.ContainerResource.Name, m.ContainerResource.Container)
			return append(errs, validateUsage(p.Child("target"), m.ContainerResource.Target)...)
		}},
	}
}

func validateContainerOf(p *field.Path, resource corev1.ResourceName, container string) field.ErrorList {
	var errs field.ErrorList
	if resource == "" {
		errs = append(errs, field.Required(p.Child("name"), "must specify a resource name"))
	} else {
		errs = append(errs, core.ValidateContainerResource(p.Child("name"), resource)...)
	}
	if container == "" {
		return append(errs, field.Required(p.Child("container"), "must specify a container"))
	}
	return append(errs, check.DNSLabel(p.Child("container"), container)...)
}

func validateIdentifier(p *field.Path, id autoscalingv2.MetricIdentifier) field.ErrorList {
	if id.Name == "" {
		return field.ErrorList{field.Required(p, "must specify a metric name")}
	}
	return check.All(p, id.Name, content.IsPathSegmentName(id.Name))
}

// validateValues wants a value, for all pods or for each.
func validateValues(p *field.Path, target autoscalingv2.MetricTarget, missing string) field.ErrorList {
	errs := validateTarget(p, target)
	if target.Value == nil && target.AverageValue == nil {
		errs = append(errs, field.Required(p.Child("averageValue"), missing))
	}
	return errs
}

// validateUsage wants either a share of the request or an amount.
func validateUsage(p *field.Path, target autoscalingv2.MetricTarget) field.ErrorList {
	errs := validateTarget(p, target)
	switch byShare, byAmount := target.AverageUtilization != nil, target.AverageValue != nil; {
	case !byShare && !byAmount:
		errs = append(errs, field.Required(p.Child("averageUtilization"), "must set either a target raw value or a target utilization"))
	case byShare && byAmount:
		errs = append(errs, field.Forbidden(p.Child("averageValue"), "may not set both a target raw value and a target utilization"))
	}
	return errs
}

func validateTarget(p *field.Path, target autoscalingv2.MetricTarget) field.ErrorList {
	var errs field.ErrorList
	switch target.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	case "":
		errs = append(errs, field.Required(p.Child("type"), "must specify a metric target type"))
		fallthrough
	default:
		errs = append(errs, field.Invalid(p.Child("type"), target.Type, "must be either Utilization, Value, or AverageValue"))
	}
	if target.Value != nil && target.Value.Sign() != 1 {
		errs = append(errs, field.Invalid(p.Child("value"), target.Value, "must be positive"))
	}
	if target.AverageValue != nil && target.AverageValue.Sign() != 1 {
		errs = append(errs, field.Invalid(p.Child("averageValue"), target.AverageValue, "must be positive"))
	}
	if share := target.AverageUtilization; share != nil && *share < 1 {
		errs = append(errs, field.Invalid(p.Child("averageUtilization"), *share, "must be greater than 0"))
	}
	return errs
}
