package clients

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

// theirs is the scheduler's name in this test: our own runs in the same process.
const theirs = "upstream-scheduler"

// TestUpstreamComponents has upstream's controller manager and scheduler work on
// our API server, with kwok in the place of nodes.
func TestUpstreamComponents(t *testing.T) {
	manager, scheduler, kwok := upstream(t, "kube-controller-manager"), upstream(t, "kube-scheduler"), program(t, "kwok")
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	keys := func(name string) string { return filepath.Join(c.Keys, name) }
	start(t, manager, "--kubeconfig="+c.Kubeconfig, "--secure-port=0", "--leader-elect=false",
		"--service-account-private-key-file="+keys("sa.key"), "--root-ca-file="+keys("ca.crt"),
		"--cluster-signing-cert-file="+keys("ca.crt"), "--cluster-signing-key-file="+keys("ca.key"), "--controllers=*")
	start(t, scheduler, "--config="+schedulerConfig(t, c.Kubeconfig), "--secure-port=0")
	start(t, kwok, "--kubeconfig="+c.Kubeconfig, "--manage-all-nodes=true", "--config="+program(t, "kwok.yaml"),
		fmt.Sprintf("--server-address=127.0.0.1:%d", fixture.FreePort(t)))
	for i := range 3 {
		makeNode(t, c, fmt.Sprintf("kwok-%d", i))
	}
	ctx := context.Background()
	// A node that becomes ready before the others would be given all the pods.
	fixture.Eventually(t, time.Minute, "nodes that take pods", func() bool { return open(t, c) == 3 })
	if _, err := c.Clients.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	deployments := c.Clients.AppsV1().Deployments("theirs")
	if _, err := deployments.Create(ctx, deployment(6), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, time.Minute, "six ready pods", func() bool {
		d, err := deployments.Get(ctx, "web", metav1.GetOptions{})
		return err == nil && d.Status.ReadyReplicas == 6 && d.Status.UpdatedReplicas == 6
	})
	spread(t, c)
	if err := c.Clients.CoreV1().Namespaces().Delete(ctx, "theirs", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 2*time.Minute, "the end of the namespace", func() bool {
		_, err := c.Clients.CoreV1().Namespaces().Get(ctx, "theirs", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func schedulerConfig(t *testing.T, kubeconfig string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scheduler.yaml")
	text := fmt.Sprintf(`apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {kubeconfig: %q}
leaderElection: {leaderElect: false}
profiles: [{schedulerName: %s}]
`, kubeconfig, theirs)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func makeNode(t *testing.T, c *fixture.Cluster, name string) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		Labels: map[string]string{corev1.LabelHostname: name, "type": "kwok"},
	}}
	if _, err := c.Clients.CoreV1().Nodes().Create(context.Background(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// open is how many nodes are ready and have no taint.
func open(t *testing.T, c *fixture.Cluster) (n int) {
	t.Helper()
	nodes, err := c.Clients.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		ready := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
		if ready && len(node.Spec.Taints) == 0 {
			n++
		}
	}
	return n
}

func deployment(replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{SchedulerName: theirs, Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
			},
		},
	}
}

// spread is that upstream's scheduler gave every node some of the pods.
func spread(t *testing.T, c *fixture.Cluster) {
	t.Helper()
	pods, err := c.Clients.CoreV1().Pods("theirs").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	on := map[string]int{}
	for _, p := range pods.Items {
		on[p.Spec.NodeName]++
	}
	if len(on) != 3 {
		t.Errorf("the pods are on %v, want all three nodes", on)
	}
}
