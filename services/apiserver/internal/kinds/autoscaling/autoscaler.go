package autoscaling

import (
	"maps"
	"strconv"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

const (
	defaultCPUUtilization = 80
	defaultScaleUpPods    = 4
	defaultScalePercent   = 100
	defaultScalePeriod    = 15
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

// HorizontalPodAutoscaler is the behaviour of autoscaling/v2
// HorizontalPodAutoscaler.
func HorizontalPodAutoscaler() strategy.Kind[*autoscalingv2.HorizontalPodAutoscaler] {
	spec := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()
	return strategy.Kind[*autoscalingv2.HorizontalPodAutoscaler]{
		Default: defaultAutoscaler,
		PrepareCreate: func(a *autoscalingv2.HorizontalPodAutoscaler) {
			a.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
			a.Generation = 1
		},
		PrepareUpdate: func(a, old *autoscalingv2.HorizontalPodAutoscaler) {
			a.Status = old.Status
			strategy.Generation(a, old, !equality.Semantic.DeepEqual(a.Spec, old.Spec))
		},
		ValidateCreate: func(a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList { return validateAutoscaler(a, nil) },
		ValidateUpdate: validateAutoscaler,
		Status: &strategy.Sub[*autoscalingv2.HorizontalPodAutoscaler]{
			PrepareUpdate:  func(a, old *autoscalingv2.HorizontalPodAutoscaler) { a.Spec = old.Spec },
			ValidateUpdate: validateStatus,
		},
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Reference", spec["scaleTargetRef"]),
			cells.Text("Targets", spec["metrics"]),
			cells.Text("MinPods", spec["minReplicas"]),
			cells.Text("MaxPods", spec["maxReplicas"]),
			cells.Text("Replicas", autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()["currentReplicas"]),
			cells.Age(),
		),
		Cells: func(a *autoscalingv2.HorizontalPodAutoscaler) []any {
			least := "<unset>"
			if a.Spec.MinReplicas != nil {
				least = strconv.Itoa(int(*a.Spec.MinReplicas))
			}
			return []any{
				a.Name, a.Spec.ScaleTargetRef.Kind + "/" + a.Spec.ScaleTargetRef.Name, metricCells(a.Spec.Metrics, a.Status.CurrentMetrics),
				least, int64(a.Spec.MaxReplicas), int64(a.Status.CurrentReplicas), cells.AgeOf(a),
			}
		},
	}
}

func defaultAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) {
	a.Annotations = withoutRoundTrip(a.Annotations)
	if a.Spec.MinReplicas == nil {
		a.Spec.MinReplicas = ptr.To[int32](1)
	}
	if len(a.Spec.Metrics) == 0 {
		a.Spec.Metrics = []autoscalingv2.MetricSpec{cpuUtilization(defaultCPUUtilization)}
	}
	if b := a.Spec.Behavior; b != nil {
		percent := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: defaultScalePercent, PeriodSeconds: defaultScalePeriod}
		pods := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: defaultScaleUpPods, PeriodSeconds: defaultScalePeriod}
		b.ScaleUp = defaultRules(b.ScaleUp, ptr.To[int32](0), pods, percent)
		// How long scaling down waits is an option of the controller.
		b.ScaleDown = defaultRules(b.ScaleDown, nil, percent)
	}
}

func cpuUtilization(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{
		Type: autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricSource{
			Name:   corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
		},
	}
}

func defaultRules(rules *autoscalingv2.HPAScalingRules, window *int32, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	if rules == nil {
		rules = &autoscalingv2.HPAScalingRules{}
	}
	if rules.SelectPolicy == nil {
		rules.SelectPolicy = ptr.To(autoscalingv2.MaxChangePolicySelect)
	}
	if rules.StabilizationWindowSeconds == nil {
		rules.StabilizationWindowSeconds = window
	}
	if rules.Policies == nil {
		rules.Policies = policies
	}
	return rules
}

func validateStatus(a, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var errs field.ErrorList
	for i := range a.Status.Conditions {
		at := statusPath.Child("conditions").Index(i).Child("observedGeneration")
		errs = append(errs, check.NotNegative(at, ptr.Deref(a.Status.Conditions[i].ObservedGeneration, 0))...)
	}
	return append(errs, check.Counts(statusPath,
		check.Count{Child: "currentReplicas", Value: a.Status.CurrentReplicas},
		check.Count{Child: "desiredReplicas", Value: a.Status.DesiredReplicas},
	)...)
}

// Annotations that carry what autoscaling/v1 has no fields for. They exist in
// that version only.
const (
	metricsAnnotation        = "autoscaling.alpha.kubernetes.io/metrics"
	currentMetricsAnnotation = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsAnnotation     = "autoscaling.alpha.kubernetes.io/conditions"
	behaviorAnnotation       = "autoscaling.alpha.kubernetes.io/behavior"
	scaleDownAnnotation      = "autoscaling.alpha.kubernetes.io/scale-down-tolerance"
	scaleUpAnnotation        = "autoscaling.alpha.kubernetes.io/scale-up-tolerance"
)

func withoutRoundTrip(annotations map[string]string) map[string]string {
	for _, key := range []string{
		metricsAnnotation, currentMetricsAnnotation, conditionsAnnotation, behaviorAnnotation, scaleDownAnnotation, scaleUpAnnotation,
	} {
		if _, set := annotations[key]; set {
			annotations = maps.Clone(annotations)
			delete(annotations, key)
		}
	}
	if len(annotations) == 0 {
		return nil
	}
	return annotations
}
