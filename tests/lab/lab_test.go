// Package lab tests the cluster of containers that `make lab` starts, from the outside:
// with the real kubectl, docker and grpcurl. The files that begin with daily use it as
// anybody would; those that begin with disaster break it, and come last.
package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// long is when a test gives up on something: far later than it takes, even on a
// machine that has much else to do.
const long = 4 * time.Minute

// lab is the running lab, for one test.
type lab struct {
	t          *testing.T
	root       string
	kubeconfig string
	// settings are the variables of .env, as overridden by the environment.
	settings map[string]string
	kube     kubernetes.Interface
	nodes    []string
}

// open connects with the lab, or skips the test.
func open(t *testing.T) *lab {
	t.Helper()
	if os.Getenv("CORACLE_LAB") == "" {
		t.Skip("no lab: start one with `make lab` and set CORACLE_LAB=1")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, root: root, kubeconfig: filepath.Join(root, "lab/.state/admin.kubeconfig")}
	if l.settings, err = settings(filepath.Join(root, ".env")); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig)
	if err != nil {
		t.Fatalf("the lab's kubeconfig: %v", err)
	}
	config.QPS = -1
	config.Timeout = 30 * time.Second
	if l.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.diagnose)
	l.allReady()
	return l
}

func settings(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	all := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, found := strings.Cut(lines.Text(), "=")
		if !found || strings.HasPrefix(key, "#") {
			continue
		}
		if v := os.Getenv(key); v != "" {
			value = v
		}
		all[key] = value
	}
	return all, lines.Err()
}

// allReady waits for all nodes and for names in pods, and notes the nodes.
func (l *lab) allReady() {
	l.t.Helper()
	l.eventually(long, "every node is Ready and CoreDNS is available", func(ctx context.Context) error {
		nodes, err := l.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		l.nodes = nil
		for i := range nodes.Items {
			if !nodeReady(&nodes.Items[i]) {
				return fmt.Errorf("node %s is not ready", nodes.Items[i].Name)
			}
			l.nodes = append(l.nodes, nodes.Items[i].Name)
		}
		if len(l.nodes) < 2 {
			return fmt.Errorf("there are %d nodes, two are needed", len(l.nodes))
		}
		names, err := l.kube.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if names.Status.AvailableReplicas < 1 {
			return fmt.Errorf("no replica of CoreDNS is available")
		}
		return nil
	})
}

// container is the name of one of the lab's own containers.
func (l *lab) container(part string) string { return l.settings["COMPOSE_PROJECT_NAME"] + "-" + part }

// registry is the lab's registry, as this machine and the nodes call it.
func (l *lab) registry() string { return "localhost:" + l.settings["CORACLE_REGISTRY_PORT"] }

// try runs a command and returns its standard output; the error has what it said.
func (l *lab) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = l.root
	command.WaitDelay = time.Second
	var out, said strings.Builder
	command.Stdout, command.Stderr = &out, &said
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), said.String())
	}
	return out.String(), nil
}

func (l *lab) run(name string, args ...string) string {
	l.t.Helper()
	out, err := l.try(name, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

func (l *lab) docker(args ...string) string {
	l.t.Helper()
	return l.run("docker", args...)
}

func (l *lab) kubectl(args ...string) string {
	l.t.Helper()
	return l.run(l.kubectlPath(), l.kubectlArgs(args)...)
}

func (l *lab) tryKubectl(args ...string) (string, error) {
	return l.try(l.kubectlPath(), l.kubectlArgs(args)...)
}

func (l *lab) kubectlPath() string { return filepath.Join(l.root, "bin/kubectl") }

func (l *lab) kubectlArgs(args []string) []string {
	return append([]string{"--kubeconfig", l.kubeconfig}, args...)
}

// on runs a command on a node's machine.
func (l *lab) on(node string, args ...string) string {
	l.t.Helper()
	return l.docker(append([]string{"exec", l.container(node)}, args...)...)
}

// eventually repeats check until it returns nil. It fails the test with the last
// answer when that takes too long.
func (l *lab) eventually(limit time.Duration, what string, check func(context.Context) error) {
	l.t.Helper()
	begin := time.Now()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := check(ctx)
		cancel()
		if err == nil {
			l.t.Logf("%6.1f s until %s", time.Since(begin).Seconds(), what)
			return
		}
		if time.Since(begin) > limit {
			l.t.Fatalf("after %s it is not so that %s: %v", limit, what, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// namespace makes one for the test and removes it, and waits until it is gone.
func (l *lab) namespace(name string) string {
	l.t.Helper()
	l.kubectl("create", "namespace", name)
	l.t.Cleanup(func() { l.removeNamespace(name) })
	l.t.Cleanup(func() { l.describe(name) })
	l.eventually(long, "the namespace has its default ServiceAccount", func(ctx context.Context) error {
		_, err := l.kube.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return name
}

func (l *lab) removeNamespace(name string) {
	limit := long
	if l.t.Failed() {
		limit = time.Minute
	}
	begin := time.Now()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := l.kube.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
		cancel()
		if apierrors.IsNotFound(err) {
			return
		}
		if time.Since(begin) > limit {
			out, _ := l.tryKubectl("get", "namespace", name, "-o", "yaml")
			pods, _ := l.tryKubectl("get", "pods", "-n", name, "-o", "yaml")
			l.t.Errorf("namespace %s is not gone after %s: %v\n%s\n%s", name, limit, err, out, pods)
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}
