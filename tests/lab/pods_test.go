package lab

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const port = 8080

// serverPod serves, is ready when it does, and goes on serving for a while when it
// is asked to end.
func (l *lab) serverPod(version string) corev1.PodSpec {
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: ptr.To[int64](40),
		Containers: []corev1.Container{{
			Name: "server", Image: l.image(version), Args: []string{"serve", "-delay", "8s"},
			Ports: []corev1.ContainerPort{{ContainerPort: port}},
			ReadinessProbe: &corev1.Probe{
				ProbeHandler:   corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(port)}},
				PeriodSeconds:  1,
				TimeoutSeconds: 20,
			},
		}},
	}
}

// quickPod is a serverPod that ends at once.
func (l *lab) quickPod() corev1.PodSpec {
	spec := l.serverPod("1")
	spec.Containers[0].Args = []string{"serve"}
	return spec
}

// pinned puts a pod onto a node, by way of the scheduler.
func pinned(spec corev1.PodSpec, node string) corev1.PodSpec {
	spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
	return spec
}

func (l *lab) createPod(namespace, name string, spec corev1.PodSpec) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}, Spec: spec}
	if _, err := l.kube.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		l.t.Fatalf("create pod %s: %v", name, err)
	}
}

// createDeployment makes one with the labels app=name, that a Service of the same name
// selects.
func (l *lab) createDeployment(namespace, name string, replicas int32, spec corev1.PodSpec) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	labels := map[string]string{"app": name}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}
	if _, err := l.kube.AppsV1().Deployments(namespace).Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		l.t.Fatalf("create deployment %s: %v", name, err)
	}
}

func (l *lab) createService(namespace, name string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(port)}},
		},
	}
	if _, err := l.kube.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		l.t.Fatalf("create service %s: %v", name, err)
	}
}

func (l *lab) pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return l.kube.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

// readyPod waits for one pod.
func (l *lab) readyPod(namespace, name string) *corev1.Pod {
	l.t.Helper()
	var pod *corev1.Pod
	l.eventually(long, "pod "+name+" is ready", func(ctx context.Context) error {
		var err error
		if pod, err = l.pod(ctx, namespace, name); err != nil {
			return err
		}
		if !podReady(pod) {
			return fmt.Errorf("it is %s, conditions %v", pod.Status.Phase, pod.Status.Conditions)
		}
		return nil
	})
	return pod
}

// podsOf lists the pods with the label app.
func (l *lab) podsOf(ctx context.Context, namespace, app string) ([]corev1.Pod, error) {
	list, err := l.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// rolledOut waits until a deployment's pods are all of its present template, ready,
// and no other is left, and returns them.
func (l *lab) rolledOut(namespace, name string) []corev1.Pod {
	l.t.Helper()
	var pods []corev1.Pod
	l.eventually(long, "deployment "+name+" is rolled out and old pods are gone", func(ctx context.Context) error {
		d, err := l.kube.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		want, s := *d.Spec.Replicas, d.Status
		if s.ObservedGeneration < d.Generation || s.Replicas != want || s.UpdatedReplicas != want || s.AvailableReplicas != want {
			return fmt.Errorf("generation %d, status %+v", d.Generation, s)
		}
		if pods, err = l.podsOf(ctx, namespace, name); err != nil {
			return err
		}
		if len(pods) != int(want) {
			return fmt.Errorf("it has %d pods: %s", len(pods), summary(pods))
		}
		for i := range pods {
			if !podReady(&pods[i]) || pods[i].DeletionTimestamp != nil {
				return fmt.Errorf("not all are ready: %s", summary(pods))
			}
		}
		return nil
	})
	return pods
}

func summary(pods []corev1.Pod) string {
	var all []string
	for i := range pods {
		p := &pods[i]
		all = append(all, fmt.Sprintf("%s on %s %s ready=%t ending=%t", p.Name, p.Spec.NodeName, p.Status.Phase, podReady(p), p.DeletionTimestamp != nil))
	}
	return strings.Join(all, "; ")
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func nodeReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// running are the containers of a namespace that run on a machine.
type running struct{ id, uid, pod, container, node string }

// census asks the machines' own engines; sandboxes are not counted.
func (l *lab) census(namespace string) ([]running, error) {
	return l.containers(namespace, "ps", "--no-trunc", "--filter", "label=io.kubernetes.docker.type=container")
}

func (l *lab) containers(namespace string, ps ...string) ([]running, error) {
	const columns = `{{.ID}} {{.Label "io.kubernetes.pod.uid"}} {{.Label "io.kubernetes.pod.name"}} {{.Label "io.kubernetes.container.name"}}`
	var all []running
	for _, node := range l.nodes {
		args := append([]string{"exec", l.container(node), "docker"}, ps...)
		args = append(args, "--filter", "label=io.kubernetes.pod.namespace="+namespace, "--format", columns)
		out, err := l.try("docker", args...)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			f := append(strings.Fields(line), "", "", "")
			all = append(all, running{id: f[0], uid: f[1], pod: f[2], container: f[3], node: node})
		}
	}
	return all, nil
}
