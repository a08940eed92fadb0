package lab

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// hasty are pods that leave a lost node after seconds, and not after five minutes.
func hasty(spec corev1.PodSpec) corev1.PodSpec {
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		spec.Tolerations = append(spec.Tolerations, corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](5),
		})
	}
	return spec
}

// TestLostMachine kills one machine: its pods move to the others. Then the machine
// comes back and gives up what was moved.
func TestLostMachine(t *testing.T) {
	l := open(t)
	ns := l.namespace("lost")
	lost := l.nodes[len(l.nodes)-1]
	l.createDeployment(ns, "web", 4, hasty(l.quickPod()))
	l.createService(ns, "web")
	moved := map[string]bool{}
	for _, p := range l.rolledOut(ns, "web") {
		moved[p.Name] = p.Spec.NodeName == lost
	}
	if !strings.Contains(fmt.Sprint(moved), "true") {
		t.Fatalf("none of the pods is on %s: %v", lost, moved)
	}

	t.Cleanup(func() {
		// Whatever happens, later tests have the machine.
		l.docker("start", l.container(lost))
		l.allReady()
	})
	l.docker("kill", l.container(lost))
	killed := time.Now()
	l.eventually(long, lost+" is not ready", func(ctx context.Context) error {
		node, err := l.kube.CoreV1().Nodes().Get(ctx, lost, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if nodeReady(node) {
			return fmt.Errorf("it is")
		}
		return nil
	})
	l.eventually(long, "four pods are ready on other machines", func(ctx context.Context) error {
		pods, err := l.podsOf(ctx, ns, "web")
		if err != nil {
			return err
		}
		ready := 0
		for i := range pods {
			if pods[i].Spec.NodeName == lost {
				continue
			}
			if podReady(&pods[i]) && pods[i].DeletionTimestamp == nil {
				ready++
			}
		}
		if ready != 4 {
			return fmt.Errorf("the pods are %s", summary(pods))
		}
		return nil
	})
	t.Logf("the pods moved %.0f s after the machine was lost", time.Since(killed).Seconds())
	l.answersElsewhere(ns, lost)

	l.docker("start", l.container(lost))
	l.allReady()
	for _, p := range l.rolledOut(ns, "web") {
		if moved[p.Name] {
			t.Errorf("pod %s came back with its machine", p.Name)
		}
	}
	l.exactlyRuns(ns, 4)
	l.deadAreCleared(ns, lost)
}

// answersElsewhere asks through the Service from a machine that is left, many times, so
// that a lost pod which still gets requests is found.
func (l *lab) answersElsewhere(ns, lost string) {
	l.t.Helper()
	for _, node := range l.nodes {
		if node == lost {
			continue
		}
		name := "client-on-" + node
		l.createPod(ns, name, pinned(corev1.PodSpec{Containers: []corev1.Container{{
			Name: "client", Image: l.image("1"), Args: []string{"serve"},
		}}}, node))
		l.readyPod(ns, name)
		l.kubectl("exec", name, "-n", ns, "--", "/server", "get", "-within", "2m", "http://web/")
		for range 8 {
			l.kubectl("exec", name, "-n", ns, "--", "/server", "get", "http://web/")
		}
		l.kubectl("delete", "pod", name, "-n", ns, "--now")
	}
}

// deadAreCleared waits until the machine that came back holds no container of the
// namespace but those that run.
func (l *lab) deadAreCleared(ns, node string) {
	l.t.Helper()
	l.eventually(long, "dead containers are cleared from "+node, func(context.Context) error {
		all := l.on(node, "docker", "ps", "-a", "--filter", "label=io.kubernetes.pod.namespace="+ns, "--filter", "status=exited", "--format", "{{.Names}}")
		if all != "" {
			return fmt.Errorf("there are %s", all)
		}
		return nil
	})
}
