package authz_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/auth/authz/node"
	"coracle.local/services/apiserver/internal/auth/authz/rbac"
)

// Decisions go on while roles and pods change; the race detector looks on.
func TestDecisionsDuringChanges(t *testing.T) {
	cluster := authtest.New()
	roles, nodes := rbac.New(), node.New(cluster, nil)
	cluster.Watch(roles, nodes)
	c := chain([]string{"Node", "RBAC"}, roles, nodes)
	const rounds = 200
	var group sync.WaitGroup
	group.Go(func() {
		for i := range rounds {
			name := fmt.Sprint("r", i%5)
			cluster.Put(
				&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}}},
				&rbacv1.ClusterRoleBinding{
					ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: name},
					Subjects: []rbacv1.Subject{{Kind: "Group", Name: "devs"}},
				},
				&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Spec: corev1.PodSpec{
					NodeName: "n1", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "s"}},
				}},
			)
			cluster.Remove(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("r", (i+1)%5)}})
		}
	})
	for range 2 {
		group.Go(func() {
			for i := range rounds {
				u := authtest.Node("n1")
				if i%2 == 0 {
					u = authtest.User("alice", "devs")
				}
				if _, _, err := c.Authorize(context.Background(), authorizer.AttributesRecord{
					User: u, Verb: "get", Resource: "secrets", Namespace: "a", Name: "s", ResourceRequest: true,
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	decision, reason, err := c.Authorize(context.Background(), authorizer.AttributesRecord{
		User: authtest.Node("n1"), Verb: "get", Resource: "secrets", Namespace: "a", Name: "s", ResourceRequest: true,
	})
	if decision != authorizer.DecisionAllow || err != nil {
		t.Errorf("in the end %v %q %v", decision, reason, err)
	}
}
