package kinds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
)

func TestEveryKindHasAStrategy(t *testing.T) {
	strategies := Strategies()
	for _, k := range kinds.All() {
		s := strategies[k]
		if s == nil {
			t.Errorf("%s has none", k)
			continue
		}
		obj := k.New()
		if s.Default != nil {
			s.Default(obj)
		}
		if k.Stored() && s.Cells == nil {
			t.Errorf("%s has no table", k)
		}
		extra := 0
		if k.Kind == "IPAddress" {
			extra = 1 // as upstream
		}
		if s.Cells != nil && len(s.Cells(obj)) != len(s.Columns)+extra {
			t.Errorf("%s: %d columns and %d cells", k, len(s.Columns), len(s.Cells(obj)))
		}
		if (k.StoredAs != nil) != (s.Shared != nil) {
			t.Errorf("%s: stored as another kind or not, and its strategy disagrees", k)
		}
		if k.HasSubresource("status") && s.Status == nil {
			t.Errorf("%s: no status subresource", k)
		}
		if k.HasSubresource("scale") && s.Scale == nil {
			t.Errorf("%s: no scale subresource", k)
		}
		for name := range s.Subresources {
			if !k.HasSubresource(name) {
				t.Errorf("%s: subresource %s is not served", k, name)
			}
		}
	}
}

// TestNothingPanicsOnEmptyObjects goes through every function that a client's
// object reaches, with an object that has nothing set.
func TestNothingPanicsOnEmptyObjects(t *testing.T) {
	for k, s := range Strategies() {
		obj, old := k.New(), k.New()
		for _, f := range []func(kinds.Object){s.Default, s.PrepareCreate} {
			call(f, obj)
			call(f, old)
		}
		if s.PrepareUpdate != nil {
			s.PrepareUpdate(obj, old)
		}
		s.ValidateCreate(obj)
		s.ValidateUpdate(obj, old)
		if s.Warnings != nil {
			s.Warnings(obj, nil)
			s.Warnings(obj, old)
		}
		if s.Fields != nil {
			s.Fields(obj)
		}
		if s.Status != nil {
			if s.Status.PrepareUpdate != nil {
				s.Status.PrepareUpdate(obj, old)
			}
			s.Status.ValidateUpdate(obj, old)
		}
		for _, sub := range s.Subresources {
			if sub.PrepareUpdate != nil {
				sub.PrepareUpdate(obj, old)
			}
			sub.ValidateUpdate(obj, old)
		}
	}
}

func TestFields(t *testing.T) {
	strategies := Strategies()
	for _, test := range []struct {
		obj  kinds.Object
		want map[string]string
	}{
		{&corev1.Secret{Type: "a"}, map[string]string{"type": "a"}},
		{&corev1.Node{Spec: corev1.NodeSpec{Unschedulable: true}}, map[string]string{"spec.unschedulable": "true"}},
		{&corev1.Namespace{Status: corev1.NamespaceStatus{Phase: "x"}}, map[string]string{"status.phase": "x"}},
		{&corev1.Service{Spec: corev1.ServiceSpec{Type: "a", ClusterIP: "b"}}, map[string]string{"spec.type": "a", "spec.clusterIP": "b"}},
		{&appsv1.ReplicaSet{Status: appsv1.ReplicaSetStatus{Replicas: 3}}, map[string]string{"status.replicas": "3"}},
		{&batchv1.Job{Status: batchv1.JobStatus{Succeeded: 2}}, map[string]string{"status.successful": "2"}},
		{&certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: "s"}}, map[string]string{"spec.signerName": "s"}},
		{
			&corev1.Pod{
				Spec:   corev1.PodSpec{NodeName: "n", RestartPolicy: "r", SchedulerName: "s", ServiceAccountName: "a", HostNetwork: true},
				Status: corev1.PodStatus{Phase: "p", PodIPs: []corev1.PodIP{{IP: "1.2.3.4"}}, NominatedNodeName: "m"},
			},
			map[string]string{
				"spec.nodeName": "n", "spec.restartPolicy": "r", "spec.schedulerName": "s", "spec.serviceAccountName": "a",
				"spec.hostNetwork": "true", "status.phase": "p", "status.podIP": "1.2.3.4", "status.nominatedNodeName": "m",
			},
		},
	} {
		k := kinds.ForObject(test.obj)
		if diff := cmp.Diff(test.want, map[string]string(strategies[k].Fields(test.obj))); diff != "" {
			t.Errorf("%s: %s", k, diff)
		}
	}
}

func TestGracefulDeletion(t *testing.T) {
	graceful := Strategies()[kinds.For[*corev1.Pod]()].GracefulDelete
	pod := func(node string, phase corev1.PodPhase, grace *int64) *corev1.Pod {
		return &corev1.Pod{
			Spec:   corev1.PodSpec{NodeName: node, TerminationGracePeriodSeconds: grace},
			Status: corev1.PodStatus{Phase: phase},
		}
	}
	for _, test := range []struct {
		name    string
		pod     *corev1.Pod
		asked   *int64
		seconds int64
	}{
		{"running", pod("n", corev1.PodRunning, ptr.To[int64](30)), nil, 30},
		{"asked for less", pod("n", corev1.PodRunning, ptr.To[int64](30)), ptr.To[int64](5), 5},
		{"asked for none", pod("n", corev1.PodRunning, ptr.To[int64](30)), ptr.To[int64](0), 0},
		{"asked for less than none", pod("n", corev1.PodRunning, ptr.To[int64](30)), ptr.To[int64](-5), 1},
		{"not scheduled", pod("", corev1.PodPending, ptr.To[int64](30)), nil, 0},
		{"failed", pod("n", corev1.PodFailed, ptr.To[int64](30)), nil, 0},
		{"succeeded", pod("n", corev1.PodSucceeded, ptr.To[int64](30)), nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			seconds, stays := graceful(test.pod, &metav1.DeleteOptions{GracePeriodSeconds: test.asked})
			if seconds != test.seconds || stays != (test.seconds > 0) {
				t.Errorf("it has %d seconds and stays: %v", seconds, stays)
			}
		})
	}
}

func TestSharedShapesLoseNothing(t *testing.T) {
	strategies := Strategies()
	event := &corev1.Event{
		TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:     metav1.ObjectMeta{Name: "x", Namespace: "n", Labels: map[string]string{"a": "b"}},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p"}, Related: &corev1.ObjectReference{Name: "r"},
		Reason: "r", Message: "m", Source: corev1.EventSource{Component: "c"}, Count: 3, Type: "Normal", Action: "a",
		Series: &corev1.EventSeries{Count: 4}, ReportingController: "rc", ReportingInstance: "ri", EventTime: metav1.NowMicro(),
	}
	autoscaler := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
		ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "n"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MaxReplicas: 3, MinReplicas: ptr.To[int32](1),
			Metrics: []autoscalingv2.MetricSpec{{
				Type: autoscalingv2.ResourceMetricSourceType,
				Resource: &autoscalingv2.ResourceMetricSource{
					Name: "cpu", Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](40)},
				},
			}},
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{
				Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 2, PeriodSeconds: 3}},
			}},
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{
			CurrentReplicas: 2, Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: "AbleToScale", Status: "True", Reason: "r"}},
		},
	}
	for _, test := range []struct {
		stored kinds.Object
		as     *kinds.Kind
	}{
		{event, kinds.For[*eventsv1.Event]()},
		{autoscaler, kinds.For[*autoscalingv1.HorizontalPodAutoscaler]()},
	} {
		shared := strategies[test.as].Shared
		shown, err := shared.FromStored(test.stored)
		if err != nil {
			t.Fatal(err)
		}
		back, err := shared.ToStored(shown)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.stored, back); diff != "" {
			t.Errorf("%s: %s", test.as, diff)
		}
	}
}
