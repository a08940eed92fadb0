package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

const settings = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: red}
`

func TestKubectlApply(t *testing.T) {
	c, _ := bare(t)
	k := newKubectl(t, c)
	k.write("settings.yaml", settings)
	k.says("configmap/settings created", "apply", "-f", "settings.yaml")
	k.says("configmap/settings unchanged", "apply", "-f", "settings.yaml")

	k.write("settings.yaml", strings.Replace(settings, "red", "blue", 1))
	out, err := k.try("diff", "-f", "settings.yaml")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "-  color: red\n+  color: blue") {
		t.Errorf("diff: %v\n%s", err, out)
	}
	k.says("configmap/settings configured (server dry run)", "apply", "-f", "settings.yaml", "--dry-run=server")
	k.says("red", "get", "cm", "settings", "-o", "jsonpath={.data.color}")
	k.says("configmap/settings configured", "apply", "-f", "settings.yaml")
	k.says("blue", "get", "cm", "settings", "-o", "jsonpath={.data.color}")

	k.write("settings.yaml", strings.Replace(settings, "color: red", "shape: round", 1))
	k.run("apply", "-f", "settings.yaml")
	k.says(`{"shape":"round"}`, "get", "cm", "settings", "-o", "jsonpath={.data}")
	k.says("configmap/settings replaced", "replace", "-f", "settings.yaml")
	k.says(`configmap "settings" deleted from default namespace`, "delete", "-f", "settings.yaml")
}

func TestKubectlServerSideApply(t *testing.T) {
	c, _ := bare(t)
	k := newKubectl(t, c)
	k.write("settings.yaml", settings)
	k.says("configmap/settings serverside-applied", "apply", "-f", "settings.yaml", "--server-side", "--field-manager=first")
	k.says("first", "get", "cm", "settings", "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}")

	k.write("other.yaml", strings.Replace(settings, "red", "green", 1))
	other := []string{"apply", "-f", "other.yaml", "--server-side", "--field-manager=second"}
	k.fails("Apply failed with 1 conflict: conflict with \"first\": .data.color", other...)
	k.says("configmap/settings serverside-applied", append(other, "--force-conflicts")...)
	k.says("green", "get", "cm", "settings", "-o", "jsonpath={.data.color}")
	// The first one lost the field, so that it may leave it out and it stays.
	k.write("settings.yaml", strings.Replace(settings, "color: red", "shape: round", 1))
	k.run("apply", "-f", "settings.yaml", "--server-side", "--field-manager=first")
	k.says("green round", "get", "cm", "settings", "-o", "jsonpath={.data.color} {.data.shape}")
	// What one manager alone set goes when it is left out.
	k.write("settings.yaml", strings.Replace(settings, "color: red", "", 1))
	k.run("apply", "-f", "settings.yaml", "--server-side", "--field-manager=first")
	k.says(`{"color":"green"}`, "get", "cm", "settings", "-o", "jsonpath={.data}")
}

func TestKubectlValidatesFields(t *testing.T) {
	c, _ := bare(t)
	k := newKubectl(t, c)
	k.write("typo.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndataa: {a: b}\n")
	k.fails(`strict decoding error: unknown field "dataa"`, "create", "-f", "typo.yaml")
	k.fails(`strict decoding error: unknown field "dataa"`, "create", "-f", "typo.yaml", "--validate=strict")
	k.says("Warning: unknown field \"dataa\"\nconfigmap/typo created", "create", "-f", "typo.yaml", "--validate=warn")
	k.run("delete", "cm", "typo")
	k.says("configmap/typo created", "create", "-f", "typo.yaml", "--validate=ignore")
}

func TestKubectlPatches(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	k := newKubectl(t, c)
	k.run("create", "deployment", "d", "--image=nginx:1")
	const patched = "deployment.apps/d patched"
	ready := func(want string) {
		t.Helper()
		k.says(want, "get", "deploy", "d", "-o", "jsonpath={.spec.minReadySeconds}")
	}
	k.says(patched, "patch", "deploy", "d", "-p", `{"spec":{"minReadySeconds":5,"template":{"spec":{"containers":[{"name":"nginx","image":"nginx:2"}]}}}}`)
	ready("5")
	k.says("nginx:2", "get", "deploy", "d", "-o", "jsonpath={.spec.template.spec.containers[*].image}")
	k.says(patched, "patch", "deploy", "d", "--type=merge", "-p", `{"spec":{"minReadySeconds":6}}`)
	ready("6")
	k.says(patched, "patch", "deploy", "d", "--type=json", "-p", `[{"op":"replace","path":"/spec/minReadySeconds","value":7}]`)
	ready("7")
	k.says(patched+" (no change)", "patch", "deploy", "d", "--type=merge", "-p", `{"spec":{"minReadySeconds":7}}`)
	k.fails("unrecognized type: int32",
		"patch", "deploy", "d", "-p", `{"spec":{"minReadySeconds":"x"}}`)
	k.fails(`spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0`,
		"patch", "deploy", "d", "--type=merge", "-p", `{"spec":{"minReadySeconds":-1}}`)

	k.says("deployment.apps/d annotated", "annotate", "deploy", "d", "note=one")
	k.fails("--overwrite is false but found the following declared annotation(s): 'note' already has a value (one)", "annotate", "deploy", "d", "note=two")
	k.says("deployment.apps/d labeled", "label", "deploy", "d", "tier=front")
	k.says("d", "get", "deploy", "-l", "tier in (front,back)", "-o", "jsonpath={.items[*].metadata.name}")
	k.says("deployment.apps/d unlabeled", "label", "deploy", "d", "tier-")
	k.says("deployment.apps/d image updated", "set", "image", "deploy/d", "nginx=nginx:3")
	k.says("deployment.apps/d scaled", "scale", "deploy", "d", "--replicas=3")
	k.fails("Expected replicas to be 1, was 3", "scale", "deploy", "d", "--replicas=2", "--current-replicas=1")
	if scale := lines(k.run("get", "deploy", "d", "--subresource=scale")); scale[0] != "NAME DESIRED AVAILABLE AGE" || !strings.HasPrefix(scale[1], "d 3 0 ") {
		t.Errorf("scale: %q", scale)
	}
}

func TestKubectlRollout(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Nodes: 1})
	k := newKubectl(t, c)
	settled(t, c, k, "orange")
	k.run("config", "set-context", "--current", "--namespace=orange")
	k.run("create", "deployment", "d", "--image=nginx:1", "--replicas=2")
	k.run("rollout", "status", "deploy/d", "--timeout=2m")
	k.run("set", "image", "deploy/d", "nginx=nginx:2")
	k.run("rollout", "status", "deploy/d", "--timeout=2m")
	if history := rows(k.run("rollout", "history", "deploy/d")); len(history) < 3 {
		t.Errorf("history %v", history)
	}
	k.says("deployment.apps/d rolled back", "rollout", "undo", "deploy/d")
	k.run("rollout", "status", "deploy/d", "--timeout=2m")
	k.says("nginx:1", "get", "deploy", "d", "-o", "jsonpath={.spec.template.spec.containers[*].image}")
	k.says("deployment.apps/d restarted", "rollout", "restart", "deploy/d")
	k.run("rollout", "status", "deploy/d", "--timeout=2m")
	k.run("delete", "deploy", "d", "--cascade=foreground", "--timeout=2m")
	k.says("No resources found in orange namespace.", "get", "replicasets")
}
