package workbench

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
)

// Kubelet schedules every pod to the node in turn, runs it at once, and ends
// what is deleted. A pod that pick refuses stays as it is.
func (b *Bench) Kubelet(pick func(*corev1.Pod) bool, nodes ...string) *Bench {
	turn := 0
	return b.Also(func() bool {
		busy := false
		for _, p := range All[*corev1.Pod](b, "") {
			switch {
			case p.DeletionTimestamp != nil && p.Spec.NodeName != "" && ptr.Deref(p.DeletionGracePeriodSeconds, 0) > 0:
				err := b.API.Delete(context.Background(), kinds.For[*corev1.Pod](), p.Namespace, p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
				if err != nil {
					b.T.Fatalf("kubelet: %v", err)
				}
				busy = true
			case p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodPending && (pick == nil || pick(p)):
				if p.Spec.NodeName == "" {
					p.Spec.NodeName = nodes[turn%len(nodes)]
					turn++
				}
				b.SetReady(p, true)
				busy = true
			}
		}
		return busy
	})
}

// SetReady makes a pod run, ready or not, since now.
func (b *Bench) SetReady(p *corev1.Pod, ready bool) {
	now := metav1.NewTime(b.Clock.Now())
	p.Status.Phase = corev1.PodRunning
	if p.Status.PodIP == "" {
		p.Status.StartTime = &now
		b.addresses++
		p.Status.PodIP = fmt.Sprintf("10.0.%d.%d", b.addresses/250, b.addresses%250+1)
		p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
	}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: now}}
	b.API.Seed(p)
}

// Finish ends a pod's containers.
func (b *Bench) Finish(p *corev1.Pod, phase corev1.PodPhase) {
	p = p.DeepCopy()
	now := metav1.NewTime(b.Clock.Now())
	code := int32(0)
	if phase == corev1.PodFailed {
		code = 1
	}
	p.Status.Phase = phase
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "PodCompleted", LastTransitionTime: now}}
	p.Status.ContainerStatuses = nil
	for _, c := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name:  c.Name,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: now}},
		})
	}
	b.API.Seed(p)
}
