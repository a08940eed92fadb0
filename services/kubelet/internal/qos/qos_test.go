package qos_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"coracle.local/services/kubelet/internal/qos"
)

func container(name, cpu, cpuLimit, memory, memoryLimit string) corev1.Container {
	list := func(cpu, memory string) corev1.ResourceList {
		out := corev1.ResourceList{}
		for name, v := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
			if v != "" {
				out[name] = resource.MustParse(v)
			}
		}
		return out
	}
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list(cpu, memory), Limits: list(cpuLimit, memoryLimit)}}
}

func pod(containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: containers}}
}

func TestClass(t *testing.T) {
	full, none, some := container("f", "1", "1", "1Gi", "1Gi"), container("n", "", "", "", ""), container("s", "1", "2", "", "")
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
		want corev1.PodQOSClass
	}{
		{"nothing asked", pod(none), corev1.PodQOSBestEffort},
		{"all that is asked is promised", pod(full, full), corev1.PodQOSGuaranteed},
		{"something", pod(some), corev1.PodQOSBurstable},
		{"one of each", pod(full, none), corev1.PodQOSBurstable},
		{"memory alone", pod(container("m", "", "", "1Gi", "1Gi")), corev1.PodQOSBurstable},
		{"for the whole pod", func() *corev1.Pod {
			p := pod(none)
			p.Spec.Resources = &full.Resources
			return p
		}(), corev1.PodQOSGuaranteed},
		{"as the server says", func() *corev1.Pod {
			p := pod(none)
			p.Status.QOSClass = corev1.PodQOSBurstable
			return p
		}(), corev1.PodQOSBurstable},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := qos.Of(test.pod); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestWhoGoesFirst(t *testing.T) {
	always, critical := corev1.ContainerRestartPolicyAlways, int32(2000001000)
	small, large := container("s", "", "", "1Gi", ""), container("l", "", "", "8Gi", "")
	p := pod(small, large)
	if a, b := qos.OOMScoreAdj(p, &small, 10<<30), qos.OOMScoreAdj(p, &large, 10<<30); a != 900 || b != 200 {
		t.Errorf("burstable: %d, %d", a, b)
	}
	sidecar := container("c", "", "", "1Mi", "")
	sidecar.RestartPolicy = &always
	p.Spec.InitContainers = []corev1.Container{sidecar}
	if got := qos.OOMScoreAdj(p, &sidecar, 10<<30); got != 900 {
		t.Errorf("a sidecar goes before what it serves: %d", got)
	}
	p.Spec.Priority = &critical
	if got := qos.OOMScoreAdj(p, &small, 10<<30); got != -997 {
		t.Errorf("what keeps the node alive: %d", got)
	}
}
