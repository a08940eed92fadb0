package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/client"
)

// TestRightsOverGRPC gives a user rights to parts of objects, which are no rights
// to the rest of them.
func TestRightsOverGRPC(t *testing.T) {
	c, _, w := withMaps(t)
	w.post(rolesPath+"/clusterroles", `{"metadata":{"name":"parts"},"rules":[
		{"apiGroups":["apps"],"resources":["deployments/scale","deployments/other"],"verbs":["*"]},
		{"apiGroups":["coordination.k8s.io"],"resources":["leases"],"verbs":["update","patch"]},
		{"apiGroups":[""],"resources":["nodes"],"verbs":["get"]}]}`).is(http.StatusCreated)
	w.post(rolesPath+"/namespaces/default/rolebindings", `{"metadata":{"name":"joe"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"parts"},
		"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"joe"}]}`).is(http.StatusCreated)
	w.post(deploymentsPath, deploymentBody).is(http.StatusCreated)
	w.post("/api/v1/nodes", `{"metadata":{"name":"n1"}}`).is(http.StatusCreated)

	ctx := context.Background()
	joe := dial(t, c, certified(t, c, "joe"))
	deployments, leases := client.For[*appsv1.Deployment](joe), client.For[*coordinationv1.Lease](joe)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "l"}}
	paused := []byte(`{"spec":{"paused":true}}`)
	for name, row := range map[string]struct {
		do   func() error
		is   func(error) bool
		says string
	}{
		"a change through the scale": {func() error {
			_, err := deployments.Patch(ctx, "default", "d", types.MergePatchType, paused, "scale")
			return err
		}, apierrors.IsBadRequest, `deployments cannot be changed through "scale"`},
		"a change through what there is not": {func() error {
			_, err := deployments.Patch(ctx, "default", "d", types.MergePatchType, paused, "other")
			return err
		}, apierrors.IsBadRequest, `deployments cannot be changed through "other"`},
		"a change of the object": {func() error {
			_, err := deployments.Patch(ctx, "default", "d", types.MergePatchType, paused, "")
			return err
		}, apierrors.IsForbidden, `deployments.apps "d" is forbidden: User "joe" cannot patch resource "deployments" in API group "apps" in the namespace "default"`},
		"an update that creates": {
			func() error { _, err := leases.Update(ctx, lease); return err },
			apierrors.IsForbidden, `leases.coordination.k8s.io "l" is forbidden: User "joe" cannot create resource "leases" in API group "coordination.k8s.io" in the namespace "default"`,
		},
		"a patch of what is absent": {func() error {
			_, err := leases.Patch(ctx, "default", "l", types.MergePatchType, []byte(`{}`), "")
			return err
		}, apierrors.IsNotFound, `leases.coordination.k8s.io "l" not found`},
		"a node, by rights in a namespace": {
			func() error { _, err := client.For[*corev1.Node](joe).Get(ctx, "default", "n1"); return err },
			apierrors.IsForbidden, `nodes "n1" is forbidden: User "joe" cannot get resource "nodes" in API group "" at the cluster scope`,
		},
	} {
		if err := row.do(); !row.is(err) || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who may create may do so by an update.
	if _, err := client.For[*coordinationv1.Lease](c.Conn).Update(ctx, lease); err != nil {
		t.Errorf("an update that creates, by the administrator: %v", err)
	}
}
