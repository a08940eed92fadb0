package admit_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/kubelet/internal/admit"
)

func pod(cpu string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	if change != nil {
		change(p)
	}
	return p
}

func port(ip string, number int32, protocol corev1.Protocol) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostIP: ip, HostPort: number, Protocol: protocol}}
	}
}

func TestAdmit(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"disk": "ssd"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "away", Effect: corev1.TaintEffectNoExecute}, {Key: "full", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourcePods: resource.MustParse("3"),
		}},
	}
	tolerates := func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: "away", Operator: corev1.TolerationOpExists}}
	}
	ok := func(cpu string, change func(*corev1.Pod)) *corev1.Pod {
		p := pod(cpu, tolerates)
		if change != nil {
			change(p)
		}
		return p
	}
	for _, test := range []struct {
		name            string
		pod             *corev1.Pod
		others          []*corev1.Pod
		reason, message string
	}{
		{"fits", ok("1", nil), nil, "", ""},
		{"just fits", ok("1", nil), []*corev1.Pod{pod("1", nil)}, "", ""},
		{"no processor left", ok("1", nil), []*corev1.Pod{pod("1500m", nil)}, "OutOfcpu", "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"},
		{"no memory left", ok("", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")}
		}), nil, "OutOfmemory", "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824"},
		{"no place left", ok("", nil), []*corev1.Pod{pod("", nil), pod("", nil), pod("", nil)}, "OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"},
		{"a resource of others", ok("", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"example.com/x": resource.MustParse("1")}
		}), nil, "", ""},
		{"selector", ok("", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "hdd"} }), nil, "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"},
		{"another node", ok("", func(p *corev1.Pod) { p.Spec.NodeName = "n2" }), nil, "NodeName", "Predicate NodeName failed: node(s) didn't match the requested node name"},
		{"port taken", ok("", port("", 80, "")), []*corev1.Pod{pod("", port("10.0.0.1", 80, corev1.ProtocolTCP))}, "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"},
		{"port of another protocol", ok("", port("", 80, corev1.ProtocolUDP)), []*corev1.Pod{pod("", port("", 80, ""))}, "", ""},
		{"port of another address", ok("", port("10.0.0.2", 80, "")), []*corev1.Pod{pod("", port("10.0.0.1", 80, ""))}, "", ""},
		{"taint", pod("", nil), nil, "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"},
		{"another system", ok("", func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }), nil, "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := admit.Admit(test.pod, node, test.others)
			switch {
			case v == nil && test.reason != "":
				t.Errorf("admitted, want %s", test.reason)
			case v != nil && (v.Reason != test.reason || v.Message != test.message):
				t.Errorf("got %s: %s", v.Reason, v.Message)
			}
		})
	}
}
