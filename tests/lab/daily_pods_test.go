package lab

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRolloutLosesNoRequest asks steadily through a Service, from a pod on each node,
// while its Deployment is updated and taken back.
func TestRolloutLosesNoRequest(t *testing.T) {
	l := open(t)
	ns := l.namespace("rollout")
	l.createService(ns, "web")
	l.createDeployment(ns, "web", 3, l.serverPod("1"))
	l.rolledOut(ns, "web")
	// The first request shall find a Service.
	l.answers(ns, "web", "1")
	load := l.startLoad(ns, "web")

	l.kubectl("set", "image", "deployment/web", "-n", ns, "server="+l.image("2"))
	l.kubectl("rollout", "status", "deployment/web", "-n", ns, "--timeout=4m")
	l.rolledOut(ns, "web")
	l.answers(ns, "web", "2")
	load.goesOn()

	l.kubectl("rollout", "undo", "deployment/web", "-n", ns)
	l.kubectl("rollout", "status", "deployment/web", "-n", ns, "--timeout=4m")
	l.rolledOut(ns, "web")
	l.answers(ns, "web", "1")
	load.goesOn()

	load.lostNothing()
	if history := l.kubectl("rollout", "history", "deployment/web", "-n", ns); !strings.Contains(history, "\n2 ") || !strings.Contains(history, "\n3 ") {
		t.Errorf("rollout history shows\n%s", history)
	}
}

// answers asks every pod of a Service which version it is, through the API server's
// proxy, and then the Service itself.
func (l *lab) answers(ns, service, version string) {
	l.t.Helper()
	l.eventually(long, "version "+version+" answers as "+service, func(ctx context.Context) error {
		pods, err := l.podsOf(ctx, ns, service)
		if err != nil {
			return err
		}
		targets := []string{"services/" + service + ":80"}
		for i := range pods {
			targets = append(targets, fmt.Sprintf("pods/%s:%d", pods[i].Name, port))
		}
		for _, target := range targets {
			out, err := l.tryKubectl("get", "--raw", "/api/v1/namespaces/"+ns+"/"+target+"/proxy/which")
			if err != nil {
				return err
			}
			if !strings.Contains(out, " version="+version+" ") || !strings.Contains(out, "path=/which") {
				return fmt.Errorf("%s says %q", target, out)
			}
		}
		return nil
	})
}

// TestKilledContainerRestarts kills a container's process from outside, on its machine.
func TestKilledContainerRestarts(t *testing.T) {
	l := open(t)
	ns := l.namespace("killed")
	l.createPod(ns, "web", l.quickPod())
	before := l.readyPod(ns, "web")
	id := containerID(before)
	node := before.Spec.NodeName
	pid := strings.TrimSpace(l.on(node, "docker", "inspect", "--format", "{{.State.Pid}}", id))
	l.on(node, "kill", "-KILL", pid)
	l.eventually(long, "its container restarted and is ready", func(ctx context.Context) error {
		pod, err := l.pod(ctx, ns, "web")
		if err != nil {
			return err
		}
		if pod.UID != before.UID {
			t.Fatal("it is another pod")
		}
		status := pod.Status.ContainerStatuses[0]
		if status.RestartCount != 1 || !podReady(pod) || containerID(pod) == id {
			return fmt.Errorf("it is %+v", status)
		}
		ended := status.LastTerminationState.Terminated
		if ended == nil || ended.ExitCode != 137 || ended.Reason != "Error" || containerName(ended.ContainerID) != id {
			return fmt.Errorf("the last state is %+v", ended)
		}
		if pod.Status.PodIP != before.Status.PodIP {
			return fmt.Errorf("its address became %s", pod.Status.PodIP)
		}
		return nil
	})
	if out := l.kubectl("logs", "web", "-n", ns, "--previous"); !strings.Contains(out, "serving on") {
		t.Errorf("logs --previous are %q", out)
	}
}

func containerID(pod *corev1.Pod) string {
	if len(pod.Status.ContainerStatuses) == 0 {
		return ""
	}
	return containerName(pod.Status.ContainerStatuses[0].ContainerID)
}

// containerName takes the engine's name off an ID.
func containerName(id string) string { return strings.TrimPrefix(id, "docker://") }

// TestDeletionLeavesNothing looks at the machines with their own tools.
func TestDeletionLeavesNothing(t *testing.T) {
	l := open(t)
	ns := l.namespace("nothing-left")
	links := map[string]string{}
	for _, node := range l.nodes {
		links[node] = l.on(node, "ip", "-o", "link", "show", "type", "veth")
	}
	l.createDeployment(ns, "web", 4, l.quickPod())
	l.createService(ns, "web")
	l.kubectl("patch", "service", "web", "-n", ns, "-p", `{"spec": {"type": "NodePort"}}`)
	pods := l.rolledOut(ns, "web")
	l.answers(ns, "web", "1")

	marks := map[string][]mark{}
	for _, node := range l.nodes {
		l.eventually(long, "Service and pods left their traces on "+node, func(context.Context) error {
			marks[node] = l.marks(node, ns, links[node], pods)
			for _, m := range marks[node] {
				if m.wanted && !m.there {
					return fmt.Errorf("there is no %s", m)
				}
			}
			return nil
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	if err := l.kube.AppsV1().Deployments(ns).Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := l.kube.CoreV1().Services(ns).Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, node := range l.nodes {
		l.eventually(long, "nothing of them is left on "+node, func(context.Context) error {
			state := l.state(node)
			for _, m := range marks[node] {
				if strings.Contains(state[m.where], m.text) {
					return fmt.Errorf("there is still %s in\n%s", m, state[m.where])
				}
			}
			return nil
		})
	}
}
