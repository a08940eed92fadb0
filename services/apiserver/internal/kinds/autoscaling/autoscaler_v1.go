package autoscaling

import (
	"encoding/json"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// HorizontalPodAutoscalerV1 is the behaviour of autoscaling/v1
// HorizontalPodAutoscaler. It is stored as autoscaling/v2 and shows in
// annotations what it has no fields for.
func HorizontalPodAutoscalerV1() strategy.Kind[*autoscalingv1.HorizontalPodAutoscaler] {
	return strategy.Reshape(HorizontalPodAutoscaler(), strategy.Shape[*autoscalingv1.HorizontalPodAutoscaler, *autoscalingv2.HorizontalPodAutoscaler]{
		From: fromV2,
		To:   toV2,
		Set:  func(dst, src *autoscalingv1.HorizontalPodAutoscaler) { *dst = *src },
	})
}

func fromV2(stored *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv1.HorizontalPodAutoscaler {
	in := stored.DeepCopy()
	out := &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: in.ObjectMeta,
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(in.Spec.ScaleTargetRef),
			MinReplicas:    in.Spec.MinReplicas,
			MaxReplicas:    in.Spec.MaxReplicas,
		},
		Status: autoscalingv1.HorizontalPodAutoscalerStatus{
			ObservedGeneration: in.Status.ObservedGeneration,
			LastScaleTime:      in.Status.LastScaleTime,
			CurrentReplicas:    in.Status.CurrentReplicas,
			DesiredReplicas:    in.Status.DesiredReplicas,
		},
	}
	out.SetGroupVersionKind(autoscalingv1.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"))
	var metrics []autoscalingv1.MetricSpec
	for i := range in.Spec.Metrics {
		m := &in.Spec.Metrics[i]
		switch {
		case !isCPUUtilization(m):
			metrics = append(metrics, metricToV1(m))
		case out.Spec.TargetCPUUtilizationPercentage == nil:
			out.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
		}
	}
	var current []autoscalingv1.MetricStatus
	for i := range in.Status.CurrentMetrics {
		m := &in.Status.CurrentMetrics[i]
		if r := m.Resource; m.Type == autoscalingv2.ResourceMetricSourceType && r != nil && r.Name == corev1.ResourceCPU && r.Current.AverageUtilization != nil {
			out.Status.CurrentCPUUtilizationPercentage = ptr.To(*r.Current.AverageUtilization)
		}
		current = append(current, metricStatusToV1(m))
	}
	var conditions []autoscalingv1.HorizontalPodAutoscalerCondition
	for _, c := range in.Status.Conditions {
		conditions = append(conditions, autoscalingv1.HorizontalPodAutoscalerCondition{
			Type: autoscalingv1.HorizontalPodAutoscalerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime,
			Reason: c.Reason, Message: c.Message, ObservedGeneration: c.ObservedGeneration,
		})
	}
	annotations := maps.Clone(withoutRoundTrip(out.Annotations))
	annotate(&annotations, metricsAnnotation, len(metrics) > 0, metrics)
	annotate(&annotations, currentMetricsAnnotation, len(current) > 0, current)
	// Upstream encodes its internal type here, which has no JSON names.
	annotate(&annotations, behaviorAnnotation, in.Spec.Behavior != nil, check.Internal(in.Spec.Behavior))
	annotate(&annotations, conditionsAnnotation, len(conditions) > 0, conditions)
	out.Annotations = annotations
	return out
}

func annotate(annotations *map[string]string, key string, present bool, value any) {
	if !present {
		return
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return
	}
	if *annotations == nil {
		*annotations = map[string]string{}
	}
	(*annotations)[key] = string(encoded)
}

func isCPUUtilization(m *autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil &&
		m.Resource.Name == corev1.ResourceCPU && m.Resource.Target.AverageUtilization != nil
}

func toV2(obj *autoscalingv1.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
	in := obj.DeepCopy()
	out := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: in.ObjectMeta,
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(in.Spec.ScaleTargetRef),
			MinReplicas:    in.Spec.MinReplicas,
			MaxReplicas:    in.Spec.MaxReplicas,
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{
			ObservedGeneration: in.Status.ObservedGeneration,
			LastScaleTime:      in.Status.LastScaleTime,
			CurrentReplicas:    in.Status.CurrentReplicas,
			DesiredReplicas:    in.Status.DesiredReplicas,
		},
	}
	out.SetGroupVersionKind(autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"))
	restoreSpec(&out.Spec, in)
	restoreStatus(&out.Status, in)
	out.Annotations = withoutRoundTrip(out.Annotations)
	return out
}

// restore decodes an annotation. One that does not parse is as good as none.
func restore[T any](annotations map[string]string, key string) (value T, ok bool) {
	encoded, set := annotations[key]
	if !set {
		return value, false
	}
	return value, json.Unmarshal([]byte(encoded), &value) == nil
}

func restoreSpec(spec *autoscalingv2.HorizontalPodAutoscalerSpec, in *autoscalingv1.HorizontalPodAutoscaler) {
	if metrics, ok := restore[[]autoscalingv1.MetricSpec](in.Annotations, metricsAnnotation); ok {
		for i := range metrics {
			spec.Metrics = append(spec.Metrics, metricToV2(&metrics[i]))
		}
	}
	if percent := in.Spec.TargetCPUUtilizationPercentage; percent != nil {
		spec.Metrics = append(spec.Metrics, cpuUtilization(*percent))
	}
	if len(spec.Metrics) == 0 {
		spec.Metrics = []autoscalingv2.MetricSpec{cpuUtilization(defaultCPUUtilization)}
	}
	behavior, ok := restore[autoscalingv2.HorizontalPodAutoscalerBehavior](in.Annotations, behaviorAnnotation)
	if ok && behavior != (autoscalingv2.HorizontalPodAutoscalerBehavior{}) {
		spec.Behavior = &behavior
	}
}

func restoreStatus(status *autoscalingv2.HorizontalPodAutoscalerStatus, in *autoscalingv1.HorizontalPodAutoscaler) {
	if metrics, ok := restore[[]autoscalingv1.MetricStatus](in.Annotations, currentMetricsAnnotation); ok {
		for i := range metrics {
			status.CurrentMetrics = append(status.CurrentMetrics, metricStatusToV2(&metrics[i]))
		}
	} else if percent := in.Status.CurrentCPUUtilizationPercentage; percent != nil {
		status.CurrentMetrics = []autoscalingv2.MetricStatus{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricStatus{
				Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: percent},
			},
		}}
	}
	conditions, _ := restore[[]autoscalingv1.HorizontalPodAutoscalerCondition](in.Annotations, conditionsAnnotation)
	for _, c := range conditions {
		status.Conditions = append(status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{
			Type: autoscalingv2.HorizontalPodAutoscalerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime,
			Reason: c.Reason, Message: c.Message, ObservedGeneration: c.ObservedGeneration,
		})
	}
}
