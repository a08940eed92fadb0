package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

func TestKubectlExplain(t *testing.T) {
	c, _ := bare(t)
	k := newKubectl(t, c)
	for _, row := range []struct{ command, has string }{
		{"pod.spec", "containers\t<[]Container> -required-"},
		{"deployment.spec.strategy", "Rolling update config params. Present only if DeploymentStrategyType ="},
		{"pod.spec.containers.livenessProbe --recursive", "initialDelaySeconds\t<integer>"},
		{"hpa --api-version=autoscaling/v1", "VERSION:    v1"},
		{"crd.spec.versions", "schema\t<CustomResourceValidation>"},
	} {
		if out := k.run(append([]string{"explain"}, strings.Fields(row.command)...)...); !strings.Contains(out, row.has) {
			t.Errorf("explain %s lacks %q:\n%s", row.command, row.has, out)
		}
	}
	k.fails(`the server doesn't have a resource type "nope"`, "explain", "nope")
	k.fails(`field "nope" does not exist`, "explain", "pod.nope")
}

func TestKubectlShowsObjects(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	k := newKubectl(t, c)
	k.run("create", "deployment", "d", "--image=nginx:1", "--replicas=0", "--port=80")
	k.run("expose", "deployment", "d", "--port=80", "--type=NodePort")
	for _, row := range []struct{ command, want string }{
		{"get deploy d -o name", "deployment.apps/d"},
		{"get deploy d -o jsonpath={.spec.template.spec.containers[*].image}", "nginx:1"},
		{"get deploy d -o go-template={{.metadata.name}}/{{.spec.replicas}}", "d/0"},
		{"get deploy,svc -l app=d -o name", "deployment.apps/d\nservice/d"},
		{"get deploy -A --field-selector=metadata.name=d -o jsonpath={.items[0].metadata.name}", "d"},
		{"get deploy --field-selector=metadata.name=other", "No resources found in default namespace."},
		{"get --raw /healthz", "ok"},
		{"get --raw /readyz/etcd", "ok"},
		{"auth can-i create pods", "yes"},
		{"cluster-info", "Kubernetes control plane is running at " + c.REST + "\n\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'."},
	} {
		k.says(row.want, strings.Split(row.command, " ")...)
	}
	wide := lines(k.run("get", "deploy", "d", "-o", "wide"))
	if wide[0] != "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR" || !strings.HasPrefix(wide[1], "d 0/0 0 0 ") || !strings.HasSuffix(wide[1], " nginx nginx:1 app=d") {
		t.Errorf("wide: %q", wide)
	}
	columns := lines(k.run("get", "svc", "d", "-o", "custom-columns=N:.metadata.name,T:.spec.type,P:.spec.ports[0].port"))
	if columns[1] != "d NodePort 80" {
		t.Errorf("custom columns: %q", columns)
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(k.run("get", "deploy", "d", "-o", "json")), &object); err != nil || object["kind"] != "Deployment" || object["apiVersion"] != "apps/v1" {
		t.Errorf("json: %v (%v)", object["kind"], err)
	}
	if described := k.run("describe", "deployment", "d"); !strings.Contains(described, "RollingUpdateStrategy:  25% max unavailable, 25% max surge") {
		t.Errorf("describe:\n%s", described)
	}
	if described := k.run("describe", "service", "kubernetes"); !strings.Contains(described, "TargetPort:               ") {
		t.Errorf("describe:\n%s", described)
	}
	k.fails(`Error from server (NotFound): pods "nope" not found`, "get", "pod", "nope")
	k.fails(`the server doesn't have a resource type "nopes"`, "get", "nopes")
	k.fails(`Error from server (NotFound): the server could not find the requested resource`, "get", "--raw", "/nope")
	if version := k.run("version"); !strings.Contains(version, "Server Version: v1.37.2") {
		t.Errorf("version: %s", version)
	}
}

func TestKubectlWatch(t *testing.T) {
	c, maps := bare(t)
	k := newKubectl(t, c)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := k.command(ctx, "get", "configmaps", "--watch", "--output-watch-events", "-l", "watched=yes", "--no-headers")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	seen := bufio.NewScanner(out)
	create(t, maps, "one", map[string]string{"watched": "yes"})
	create(t, maps, "other", nil)
	create(t, maps, "two", map[string]string{"watched": "yes"})
	sees := func(event, name string) {
		t.Helper()
		if !seen.Scan() {
			t.Fatalf("the watch ended: %v", seen.Err())
		}
		if got := strings.Fields(seen.Text()); len(got) < 2 || got[0] != event || got[1] != name {
			t.Fatalf("saw %q, want %s %s", seen.Text(), event, name)
		}
	}
	sees("ADDED", "one")
	sees("ADDED", "two")
	k.run("label", "configmap", "two", "more=yes")
	sees("MODIFIED", "two")
	k.run("delete", "configmap", "two")
	sees("DELETED", "two")
}
