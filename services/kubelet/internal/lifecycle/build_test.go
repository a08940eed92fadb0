package lifecycle_test

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

type option func(*corev1.Pod)

func newPod(options ...option) *corev1.Pod {
	grace := int64(30)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-1"},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyAlways,
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "app", Image: "app:1"}},
		},
	}
	for _, o := range options {
		o(pod)
	}
	return pod
}

func policy(p corev1.RestartPolicy) option {
	return func(pod *corev1.Pod) { pod.Spec.RestartPolicy = p }
}

func withInit(name string) option {
	return func(pod *corev1.Pod) {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: name, Image: name + ":1"})
	}
}

func withSidecar(name string, startup bool) option {
	always := corev1.ContainerRestartPolicyAlways
	return func(pod *corev1.Pod) {
		c := corev1.Container{Name: name, Image: name + ":1", RestartPolicy: &always}
		if startup {
			c.StartupProbe = &corev1.Probe{}
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
}

func withContainer(name string) option {
	return func(pod *corev1.Pod) {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name, Image: name + ":1"})
	}
}

func deleted(grace int64) option {
	return func(pod *corev1.Pod) {
		t := metav1.NewTime(now)
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &t, &grace
	}
}

// seen builds what an engine holds, newest first.
type seen struct {
	engine.Pod
	memory lifecycle.Memory
	probes map[string]lifecycle.Probes
	orphan bool
}

func admitted() *seen {
	return &seen{memory: lifecycle.Memory{Admitted: true, Mounted: true, Images: map[string]engine.Image{}}, probes: map[string]lifecycle.Probes{}}
}

func (s *seen) sandbox(id string, ready bool) *seen {
	s.Sandboxes = append([]engine.Sandbox{{ID: id, Attempt: len(s.Sandboxes), Ready: ready, IPs: []string{"10.0.0.9"}}}, s.Sandboxes...)
	return s
}

func (s *seen) container(name string, state engine.State, code int) *seen {
	attempt := 0
	for _, c := range s.Containers {
		if c.Name == name {
			attempt++
		}
	}
	c := engine.Container{
		ID: name + "-" + string(rune('0'+attempt)), SandboxID: s.Sandboxes[0].ID, Name: name, Attempt: attempt, State: state, ExitCode: code,
		SpecHash: lifecycle.Hash(&corev1.Container{Name: name, Image: name + ":1"}), CreatedAt: now.Add(-time.Minute),
	}
	if state != engine.Created {
		c.StartedAt = now.Add(-time.Minute)
	}
	if state == engine.Exited {
		c.FinishedAt = now.Add(-time.Second)
	}
	s.Containers = append([]engine.Container{c}, s.Containers...)
	return s
}

func (s *seen) image(name string) *seen {
	s.memory.Images[name] = engine.Image{ID: "sha256:" + name}
	return s
}

func (s *seen) observed() lifecycle.Observed {
	return lifecycle.Observed{
		Now: now, Runtime: s.Pod, Memory: s.memory, Probes: s.probes,
		Backoff: lifecycle.DefaultBackoff(), Orphan: s.orphan,
	}
}
