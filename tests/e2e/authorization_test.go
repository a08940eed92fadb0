package e2e

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/client"
	"coracle.local/libs/pki"
	"coracle.local/tests/fixture"
)

// strangers is a certificate, with its key, of an authority that nobody knows.
func strangers(t *testing.T) (certificate, key []byte) {
	t.Helper()
	ca, err := pki.NewAuthority("strangers", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	own, err := ca.Issue(pki.Request{CommonName: "kubernetes-admin", Groups: []string{"system:masters"}, Client: true})
	if err != nil {
		t.Fatal(err)
	}
	return own.CertPEM, own.KeyPEM
}

// certified is how a user with a certificate of the cluster's authority connects.
func certified(t *testing.T, c *fixture.Cluster, name string, groups ...string) *rest.Config {
	t.Helper()
	ca, err := pki.LoadAuthority(filepath.Join(c.Keys, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := ca.Issue(pki.Request{CommonName: name, Groups: groups, Client: true})
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(c.Config)
	cfg.CertData, cfg.KeyData = own.CertPEM, own.KeyPEM
	return cfg
}

func bearer(c *fixture.Cluster, token string) *rest.Config {
	cfg := rest.AnonymousClientConfig(c.Config)
	cfg.BearerToken = token
	return cfg
}

func impersonating(c *fixture.Cluster, name string, groups ...string) *rest.Config {
	cfg := rest.CopyConfig(c.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: groups}
	return cfg
}

const rolesPath = "/apis/rbac.authorization.k8s.io/v1"

// TestRolesOfUsers gives a user rights to read ConfigMaps of one namespace, and
// meets the user by each way to be one.
func TestRolesOfUsers(t *testing.T) {
	c, m, w := withMaps(t)
	create(t, m, "there", nil)
	w.post(rolesPath+"/namespaces/default/roles", `{"metadata":{"name":"reader"},"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["get","list","watch"]}]}`).is(http.StatusCreated)
	w.post(rolesPath+"/namespaces/default/rolebindings", `{"metadata":{"name":"readers"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"reader"},
		"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"joe"},{"kind":"Group","apiGroup":"rbac.authorization.k8s.io","name":"readers"}]}`).is(http.StatusCreated)
	for way, cfg := range map[string]*rest.Config{
		"certificate":            certified(t, c, "joe"),
		"certificate of a group": certified(t, c, "joe", "readers"),
		"impersonation":          impersonating(c, "joe"),
	} {
		t.Run(way, func(t *testing.T) {
			joe := newWeb(t, cfg)
			joe.get(mapsPath+"/there", asJSON).is(http.StatusOK)
			joe.get(mapsPath, asJSON).is(http.StatusOK)
			joe.get("/api/v1/configmaps", asJSON).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
				`configmaps is forbidden: User "joe" cannot list resource "configmaps" in API group "" at the cluster scope`)
			joe.post(mapsPath, `{"metadata":{"name":"mine"}}`).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
				`configmaps is forbidden: User "joe" cannot create resource "configmaps" in API group "" in the namespace "default"`)
			joe.send(http.MethodDelete, mapsPath+"/there", "", nil).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
				`configmaps "there" is forbidden: User "joe" cannot delete resource "configmaps" in API group "" in the namespace "default"`)
			joe.get("/apis/apps/v1/namespaces/default/deployments/d/scale", asJSON).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
				`deployments.apps "d" is forbidden: User "joe" cannot get resource "deployments/scale" in API group "apps" in the namespace "default"`)
			joe.get("/metrics", asJSON).refuses(http.StatusForbidden, metav1.StatusReasonForbidden, `forbidden: User "joe" cannot get path "/metrics"`)
			joe.get("/api/v1", asJSON).is(http.StatusOK) // discovery is for all who are known
		})
	}
	t.Run("asked for", func(t *testing.T) {
		review := as[authorizationv1.SubjectAccessReview](w.post("/apis/authorization.k8s.io/v1/subjectaccessreviews",
			`{"spec":{"user":"joe","resourceAttributes":{"namespace":"default","verb":"get","resource":"configmaps"}}}`))
		if !review.Status.Allowed || review.Status.Reason != `RBAC: allowed by RoleBinding "readers/default" of Role "reader" to User "joe"` {
			t.Errorf("status %+v", review.Status)
		}
	})
}

// TestNobodyRaisesThemselves tries to hand out rights that the giver lacks, and
// to be somebody else.
func TestNobodyRaisesThemselves(t *testing.T) {
	c, _, w := withMaps(t)
	w.post(rolesPath+"/clusterroles", `{"metadata":{"name":"roles"},"rules":[{"apiGroups":["rbac.authorization.k8s.io"],"resources":["roles","rolebindings"],"verbs":["create"]}]}`).is(http.StatusCreated)
	w.post(rolesPath+"/clusterrolebindings", `{"metadata":{"name":"joe"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"roles"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"joe"}]}`).is(http.StatusCreated)
	joe := newWeb(t, certified(t, c, "joe"))
	joe.post(rolesPath+"/namespaces/default/roles", `{"metadata":{"name":"more"},"rules":[{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}]}`).
		refuses(http.StatusForbidden, metav1.StatusReasonForbidden, `roles.rbac.authorization.k8s.io "more" is forbidden: user "joe" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}`)
	joe.post(rolesPath+"/namespaces/default/rolebindings", `{"metadata":{"name":"more"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"joe"}]}`).
		is(http.StatusForbidden)
	joe.send(http.MethodGet, mapsPath, "", map[string]string{"Impersonate-User": "kubernetes-admin", "Impersonate-Group": "system:masters"}).
		refuses(http.StatusForbidden, metav1.StatusReasonForbidden, `configmaps is forbidden: User "joe" cannot impersonate-on:user-info:list resource "configmaps" in API group "" in the namespace "default"`)
}

// TestAccountToken asks for a ServiceAccount's token, and uses it over both
// fronts until what it is bound to is gone.
func TestAccountToken(t *testing.T) {
	c, m, w := withMaps(t)
	account(t, c)
	create(t, m, "there", nil)
	w.post(rolesPath+"/namespaces/default/rolebindings", `{"metadata":{"name":"viewers"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},
		"subjects":[{"kind":"ServiceAccount","name":"default","namespace":"default"}]}`).is(http.StatusCreated)
	pod := as[corev1.Pod](w.post(podsPath, podBody("p")))
	request := `{"spec":{"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"p","uid":"` + string(pod.UID) + `"}}}`
	issue := func() string {
		t.Helper()
		return as[authenticationv1.TokenRequest](w.post("/api/v1/namespaces/default/serviceaccounts/default/token", request)).Status.Token
	}
	// What is known to be right is believed for a moment, so that the second one
	// is not shown before its pod is gone.
	token, later := issue(), issue()

	who := newWeb(t, bearer(c, token))
	review := as[authenticationv1.SelfSubjectReview](who.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", `{}`))
	if u := review.Status.UserInfo; u.Username != "system:serviceaccount:default:default" || strings.Join(u.Groups, " ") != "system:serviceaccounts system:serviceaccounts:default system:authenticated" ||
		u.Extra["authentication.kubernetes.io/pod-name"][0] != "p" {
		t.Errorf("user %+v", u)
	}
	who.get(mapsPath+"/there", asJSON).is(http.StatusOK)
	who.get("/api/v1/namespaces/kube-system/configmaps", asJSON).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
		`configmaps is forbidden: User "system:serviceaccount:default:default" cannot list resource "configmaps" in API group "" in the namespace "kube-system"`)

	conn := dial(t, c, bearer(c, token))
	ctx := context.Background()
	if _, err := client.For[*corev1.ConfigMap](conn).Get(ctx, "default", "there"); err != nil {
		t.Errorf("over gRPC: %v", err)
	}
	_, err := client.For[*corev1.Secret](conn).Get(ctx, "default", "there")
	if want := `secrets "there" is forbidden: User "system:serviceaccount:default:default" cannot get resource "secrets" in API group "" in the namespace "default"`; !apierrors.IsForbidden(err) || err.Error() != want {
		t.Errorf("over gRPC: %v", err)
	}

	answer := as[authenticationv1.TokenReview](w.post("/apis/authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"`+token+`"}}`))
	if !answer.Status.Authenticated || answer.Status.User.Username != "system:serviceaccount:default:default" {
		t.Errorf("reviewed %+v", answer.Status)
	}
	w.send(http.MethodDelete, podsPath+"/p?gracePeriodSeconds=0", "", nil).is(http.StatusOK)
	newWeb(t, bearer(c, later)).get(mapsPath+"/there", asJSON).refuses(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
	conn = dial(t, c, bearer(c, later))
	if _, err := client.For[*corev1.ConfigMap](conn).Get(ctx, "default", "there"); !apierrors.IsUnauthorized(err) {
		t.Errorf("over gRPC, after the pod's end: %v", err)
	}
}

// TestNodesSeeTheirOwn meets two nodes, of which one has a pod with a secret.
func TestNodesSeeTheirOwn(t *testing.T) {
	c, _, w := withMaps(t)
	account(t, c)
	w.post("/api/v1/namespaces/default/secrets", `{"metadata":{"name":"s"},"stringData":{"k":"v"}}`).is(http.StatusCreated)
	w.post(podsPath, `{"metadata":{"name":"p"},"spec":{"automountServiceAccountToken":false,"containers":[{"name":"c","image":"nginx","envFrom":[{"secretRef":{"name":"s"}}]}]}}`).is(http.StatusCreated)
	w.post(podsPath+"/p/binding", `{"metadata":{"name":"p"},"target":{"name":"n1"}}`).is(http.StatusCreated)
	one := newWeb(t, certified(t, c, "system:node:n1", "system:nodes"))
	two := newWeb(t, certified(t, c, "system:node:n2", "system:nodes"))
	const secret = "/api/v1/namespaces/default/secrets/s"
	one.get(secret, asJSON).is(http.StatusOK)
	two.get(secret, asJSON).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
		`secrets "s" is forbidden: User "system:node:n2" cannot get resource "secrets" in API group "" in the namespace "default": node: no relationship found between node 'n2' and this object`)
	one.get("/api/v1/secrets", asJSON).is(http.StatusForbidden)

	one.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", asJSON).is(http.StatusOK)
	two.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", asJSON).is(http.StatusForbidden)
	one.get("/api/v1/pods", asJSON).is(http.StatusForbidden)
	one.patch(podsPath+"/p/status", merge, `{"status":{"phase":"Running"}}`).is(http.StatusOK)
	two.patch(podsPath+"/p/status", merge, `{"status":{"phase":"Failed"}}`).is(http.StatusForbidden)
	// Over gRPC the same holds.
	pods := client.For[*corev1.Pod](dial(t, c, certified(t, c, "system:node:n2", "system:nodes")))
	if _, _, err := pods.List(context.Background(), client.ListOptions{FieldSelector: "spec.nodeName=n2"}); err != nil {
		t.Errorf("its own pods: %v", err)
	}
	for _, selector := range []string{"spec.nodeName=n1", ""} {
		if _, _, err := pods.List(context.Background(), client.ListOptions{FieldSelector: selector}); !apierrors.IsForbidden(err) {
			t.Errorf("pods %q: %v", selector, err)
		}
	}
	one.post("/api/v1/nodes", `{"metadata":{"name":"n1"}}`).is(http.StatusCreated)
	two.post("/api/v1/nodes", `{"metadata":{"name":"n3"}}`).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
		`nodes "n3" is forbidden: node "n2" is not allowed to modify node "n3"`)
	two.patch("/api/v1/nodes/n1/status", merge, `{"status":{}}`).is(http.StatusForbidden)
}

// TestBootstrapRoles finds what every cluster has from the start.
func TestBootstrapRoles(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	roles, _, err := client.For[*rbacv1.ClusterRole](c.Conn).List(context.Background(), client.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]*rbacv1.ClusterRole{}
	for _, r := range roles {
		have[r.Name] = r
	}
	for _, name := range []string{"cluster-admin", "admin", "edit", "view", "system:node", "system:discovery", "system:kube-scheduler", "system:controller:job-controller"} {
		if have[name] == nil {
			t.Errorf("there is no ClusterRole %s", name)
		}
	}
}
