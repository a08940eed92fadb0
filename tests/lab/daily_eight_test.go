package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestEightSteps is the lab's main job: an image built here, pushed to the lab's
// registry, run on a node by kubectl, and reached by name from the other node.
func TestEightSteps(t *testing.T) {
	l := open(t)
	ns := l.namespace("eight")
	image := fmt.Sprintf("%s/eight:%d", l.registry(), time.Now().UnixNano())

	// 1 and 2: build and push. The tag is new, so that the node has to pull.
	t.Cleanup(func() { l.forget(image) })
	l.push(image, l.buildFolder(), "1")

	// 3 and 4: run, and see where.
	l.kubectl("run", "web", "-n", ns, "--image", image, "--port", "8080")
	l.kubectl("wait", "pod/web", "-n", ns, "--for=condition=Ready", "--timeout=4m")
	columns := strings.Fields(l.kubectl("get", "pods", "-n", ns, "-o", "wide", "--no-headers"))
	if len(columns) < 7 || columns[0] != "web" || columns[1] != "1/1" || columns[2] != "Running" {
		t.Fatalf("get pods -o wide says %q", columns)
	}
	node, other := columns[6], ""
	for _, n := range l.nodes {
		if n != node {
			other = n
		}
	}

	// 5: the node's Docker Engine runs it.
	container := "k8s_web_web_" + ns + "_"
	if ps := l.on(node, "docker", "ps"); !strings.Contains(ps, container) {
		t.Fatalf("docker ps on %s does not show %s:\n%s", node, container, ps)
	}
	if ps := l.on(other, "docker", "ps"); strings.Contains(ps, container) {
		t.Fatalf("%s runs on %s too:\n%s", container, other, ps)
	}

	// 6: logs, exec, port-forward.
	l.streams(ns)
	// 7: by Service name from the other node.
	l.reachedByName(ns, image, other)
	// 8: the trace.
	l.traced(ns, "web", "request", "admission", "etcd", "queue", "schedule", "bind", "watch", "sandbox", "pull", "create", "start", "ready")
}

func (l *lab) streams(ns string) {
	l.t.Helper()
	if out := l.kubectl("exec", "web", "-n", ns, "--", "/server", "get", "http://localhost:8080/by-exec"); !strings.HasPrefix(out, "name=web version=1 ") {
		l.t.Fatalf("exec printed %q", out)
	}
	_, err := l.tryKubectl("exec", "web", "-n", ns, "--", "/server", "no-such-command")
	if err == nil || !strings.Contains(err.Error(), "exit code 1") || !strings.Contains(err.Error(), "there is no command") {
		l.t.Fatalf("exec of a command that fails: %v", err)
	}
	if out := l.forwarded(ns, "pod/web", "/by-port-forward"); !strings.HasPrefix(out, "name=web ") {
		l.t.Fatalf("through port-forward came %q", out)
	}
	l.eventually(time.Minute, "logs show the requests", func(context.Context) error {
		logs, err := l.tryKubectl("logs", "web", "-n", ns)
		if err != nil {
			return err
		}
		for _, want := range []string{"serving on :8080", "request /by-exec from", "request /by-port-forward from 127.0.0.1:"} {
			if !strings.Contains(logs, want) {
				return fmt.Errorf("%q is not in %q", want, logs)
			}
		}
		return nil
	})
}

// forwarded makes one request through kubectl port-forward.
func (l *lab) forwarded(ns, target, path string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, l.kubectlPath(), l.kubectlArgs([]string{"port-forward", target, "-n", ns, ":8080"})...)
	out, err := command.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		l.t.Fatal(err)
	}
	defer func() { cancel(); _ = command.Wait() }()
	first, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		l.t.Fatalf("port-forward says %q and then %v", first, err)
	}
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(first)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		l.t.Fatalf("port-forward says %q: %v", first, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(body)
}

// reachedByName exposes the pod and asks for it from the other node, where the name
// goes through CoreDNS. The server must see the client's own address.
func (l *lab) reachedByName(ns, image, other string) {
	l.t.Helper()
	l.kubectl("expose", "pod", "web", "-n", ns, "--port", "80", "--target-port", "8080")
	l.kubectl("run", "client", "-n", ns, "--image", image, "--restart=Never",
		"--overrides", `{"spec": {"nodeSelector": {"kubernetes.io/hostname": "`+other+`"}}}`,
		"--", "get", "-within", "3m", "http://web/by-name")
	l.kubectl("wait", "pod/client", "-n", ns, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=4m")
	out := strings.Fields(l.kubectl("get", "pod", "client", "-n", ns, "-o", "jsonpath={.spec.nodeName} {.status.podIP}"))
	if len(out) != 2 || out[0] != other {
		l.t.Fatalf("the client ran on %q, not on %s", out, other)
	}
	logs := l.kubectl("logs", "client", "-n", ns)
	if !strings.Contains(logs, "name=web version=1 client="+out[1]+":") {
		l.t.Fatalf("by name, from %s, came %q", out[1], logs)
	}
}

// traced waits until a pod's trace has all the steps: components report them a
// moment later.
func (l *lab) traced(ns, pod string, steps ...string) {
	l.t.Helper()
	var trace string
	l.eventually(time.Minute, "the trace of "+pod+" shows all its steps", func(context.Context) error {
		var err error
		if trace, err = l.try(filepath.Join(l.root, "bin/coracle"), "trace", "pod", pod, "-n", ns, "--kubeconfig", l.kubeconfig); err != nil {
			return err
		}
		for _, step := range steps {
			if !regexp.MustCompile(`(?m)^\+\S+ +\S+ +\S+ +` + step + `\b`).MatchString(trace) {
				return fmt.Errorf("there is no step %s in\n%s", step, trace)
			}
		}
		return nil
	})
	l.t.Log(trace)
}
