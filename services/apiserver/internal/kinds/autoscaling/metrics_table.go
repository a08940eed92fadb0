package autoscaling

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// shownMetrics is how many metrics a table's cell has room for.
const shownMetrics = 2

const unknown = "<unknown>"

func metricCells(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return "<none>"
	}
	var list []string
	for i := range specs {
		var status autoscalingv2.MetricStatus
		if i < len(statuses) {
			status = statuses[i]
		}
		list = append(list, metricCell(&specs[i], &status))
	}
	if more := len(list) - shownMetrics; more > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:shownMetrics], ", "), more)
	}
	return strings.Join(list, ", ")
}

// metricCell shows what the metric is and what it should be.
func metricCell(spec *autoscalingv2.MetricSpec, status *autoscalingv2.MetricStatus) string {
	switch {
	case spec.Type == autoscalingv2.ExternalMetricSourceType && spec.External != nil:
		return valueCell(spec.External.Target, external(status))
	case spec.Type == autoscalingv2.ObjectMetricSourceType && spec.Object != nil:
		return valueCell(spec.Object.Target, object(status))
	case spec.Type == autoscalingv2.PodsMetricSourceType && spec.Pods != nil:
		current := unknown
		if status.Pods != nil {
			current = status.Pods.Current.AverageValue.String()
		}
		return current + "/" + spec.Pods.Target.AverageValue.String()
	case spec.Type == autoscalingv2.ResourceMetricSourceType && spec.Resource != nil:
		var current *autoscalingv2.MetricValueStatus
		if status.Resource != nil {
			current = &status.Resource.Current
		}
		return usageCell(spec.Resource.Name, spec.Resource.Target, current)
	case spec.Type == autoscalingv2.ContainerResourceMetricSourceType && spec.ContainerResource != nil:
		var current *autoscalingv2.MetricValueStatus
		if status.ContainerResource != nil {
			current = &status.ContainerResource.Current
		}
		return usageCell(spec.ContainerResource.Name, spec.ContainerResource.Target, current)
	}
	return "<unknown type>"
}

func external(status *autoscalingv2.MetricStatus) *autoscalingv2.MetricValueStatus {
	if status.External == nil {
		return nil
	}
	return &status.External.Current
}

func object(status *autoscalingv2.MetricStatus) *autoscalingv2.MetricValueStatus {
	if status.Object == nil {
		return nil
	}
	return &status.Object.Current
}

func valueCell(target autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if target.AverageValue == nil {
		shown := unknown
		if current != nil {
			shown = current.Value.String()
		}
		return shown + "/" + target.Value.String()
	}
	var average *resource.Quantity
	if current != nil {
		average = current.AverageValue
	}
	shown := unknown
	if average != nil {
		shown = average.String()
	}
	return fmt.Sprintf("%s/%s (avg)", shown, target.AverageValue.String())
}

func usageCell(name corev1.ResourceName, target autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if target.AverageValue != nil {
		shown := unknown
		if current != nil {
			shown = current.AverageValue.String()
		}
		return fmt.Sprintf("%s: %s/%s", name, shown, target.AverageValue.String())
	}
	shown, wanted := unknown, "<auto>"
	if current != nil && current.AverageUtilization != nil {
		shown = fmt.Sprintf("%d%%", *current.AverageUtilization)
	}
	if target.AverageUtilization != nil {
		wanted = fmt.Sprintf("%d%%", *target.AverageUtilization)
	}
	return fmt.Sprintf("%s: %s/%s", name, shown, wanted)
}
