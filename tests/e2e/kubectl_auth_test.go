package e2e

import (
	"strings"
	"testing"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

// TestKubectlAuth asks, as a person would, who one is and what one may do, and
// brings roles into the shape of a file.
func TestKubectlAuth(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	k := newKubectl(t, c)
	has := func(out string, all ...string) {
		t.Helper()
		out = strings.Join(strings.Fields(out), " ")
		for _, want := range all {
			if !strings.Contains(out, want) {
				t.Errorf("there is no %q in\n%s", want, out)
			}
		}
	}
	k.write("roles.yaml", `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get, list]}
- {apiGroups: [apps], resources: [deployments], resourceNames: [web], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects:
- {kind: User, apiGroup: rbac.authorization.k8s.io, name: joe}
`)
	has(k.run("auth", "reconcile", "-f", "roles.yaml"), "role.rbac.authorization.k8s.io/reader reconciled", "rolebinding.rbac.authorization.k8s.io/readers reconciled")
	k.run("delete", "rolebinding", "readers")
	k.run("create", "rolebinding", "readers", "--clusterrole=view", "--user=ann")
	// The reference of a binding is fixed: it is made anew.
	has(k.run("auth", "reconcile", "-f", "roles.yaml"), "reconciliation required recreate")
	has(k.run("get", "rolebinding", "readers", "-o", "jsonpath={.roleRef.name} {.subjects[*].name}"), "reader", "joe")

	has(k.run("auth", "can-i", "list", "configmaps", "--as=joe"), "yes")
	out, err := k.try("auth", "can-i", "delete", "configmaps", "--as=joe")
	if has(out, "no"); err == nil {
		t.Error("what one may not do ends well")
	}
	has(k.run("auth", "can-i", "get", "/version", "--as=joe", "--as-group=system:authenticated"), "yes")
	list := k.run("auth", "can-i", "--list", "--as=joe")
	has(list, "configmaps [] [] [get list]", "deployments.apps [] [web] [patch]", "selfsubjectaccessreviews.authorization.k8s.io [] [] [create]", "[/version] [] [get]")
	list = k.run("auth", "can-i", "--list", "--as=system:node:n1", "--as-group=system:nodes")
	has(list, "the list may be incomplete: node authorizer does not support user rule resolution")

	has(k.run("auth", "whoami"), "Username kubernetes-admin", "Groups [system:masters system:authenticated]")
	has(k.run("auth", "whoami", "--as=joe", "--as-group=crew", "--as-uid=7", "--as-user-extra=example.com/team=blue"),
		"Username joe", "UID 7", "Groups [crew system:authenticated]", "Extra: example.com/team [blue]")
}
