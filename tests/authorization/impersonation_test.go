package authorization

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/kinds"
	"coracle.local/libs/pki"
	"coracle.local/tests/fixture"
)

// impersonators is how many requests are made by somebody as somebody else.
const impersonators = 2000

// TestImpersonationEqualsUpstreams acts as others, by all modes, and compares
// who one is taken for, or why one is refused.
func TestImpersonationEqualsUpstreams(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	theirs := startUpstream(t, c)
	r := rand.New(rand.NewPCG(seed, 2))
	create(t, c, []kinds.Object{namespaceNamed(namespaces[0])})
	create(t, c, append(impersonationRoles(r), sentinels(0)...))
	fixture.Eventually(t, waitFor, "seen: the roles", sentinel(t, servers(t, theirs), 0))
	fixture.Eventually(t, waitFor, "seen: the roles of namespaces", sentinelOfNamespace(t, servers(t, theirs), 0))

	clients := map[string][2]*http.Client{}
	for i := range 6 {
		name := fmt.Sprintf("user-%d", i)
		a, b := certified(t, c, theirs, c.Config, name)
		clients[name] = [2]*http.Client{web(t, a), web(t, b)}
	}
	var allowed, wrong atomic.Int64
	// Which mode is tried first depends on what succeeded before, so that each
	// user asks in one order.
	var group sync.WaitGroup
	for by, pair := range clients {
		requests := make([]impersonation, impersonators/len(clients))
		for i := range requests {
			requests[i] = impersonate(r, by)
		}
		group.Go(func() {
			for _, q := range requests {
				want, got := q.send(t, pair[0], theirs.Host), q.send(t, pair[1], c.Config.Host)
				if strings.HasPrefix(want, "201") {
					allowed.Add(1)
				}
				if want != got && wrong.Add(1) < 20 {
					t.Errorf("%s as %v\nupstream %s\nwe       %s", q.by, q.header, want, got)
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d impersonations compared, %d of them are allowed", impersonators, allowed.Load())
	if allowed.Load() < impersonators/50 {
		t.Error("hardly anything is allowed: the questions do not ask much")
	}
}

type impersonation struct {
	by     string
	header http.Header
}

func (q impersonation) send(t *testing.T, c *http.Client, host string) string {
	request, err := http.NewRequest(http.MethodPost, host+authenticationPath+"selfsubjectreviews", strings.NewReader(`{}`))
	if err != nil {
		t.Error(err)
		return ""
	}
	request.Header = q.header.Clone()
	request.Header.Set("Content-Type", "application/json")
	answer, err := c.Do(request)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	var v struct {
		Message string         `json:"message"`
		Status  any            `json:"status"`
		Details map[string]any `json:"details"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Sprint(answer.StatusCode, " ", string(b))
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return fmt.Sprint(answer.StatusCode, " ", string(out))
}

var (
	impersonated = []string{"user-1", "ann", "system:node:n1", "system:node:n2", "system:node:Not_A_Node", "system:serviceaccount:amber:robot", "system:serviceaccount:birch:robot", "system:serviceaccount:x", "system:anonymous", ""}
	extraKeys    = []string{"Scopes", "example.com%2fteam", "A%zz", "x.org%2fY"}
)

func impersonate(r *rand.Rand, by string) impersonation {
	q := impersonation{by: by, header: http.Header{"Impersonate-User": {pick(r, impersonated)}}}
	if r.IntN(3) == 0 {
		q.header["Impersonate-Group"] = append(some(r, []string{"crew", "readers", "system:masters", "system:nodes", "system:authenticated", "system:unauthenticated", ""}), some(r, []string{"a", "b", "c"})...)[:1+r.IntN(2)]
	}
	if r.IntN(5) == 0 {
		q.header["Impersonate-Uid"] = []string{pick(r, []string{"1", "2", ""})}
	}
	if r.IntN(3) == 0 {
		// One alone: which of several is refused first is up to a Go map.
		q.header["Impersonate-Extra-"+pick(r, extraKeys)] = some(r, []string{"v", "w", ""})
	}
	return q
}

// impersonationRoles give each of the users some of the rights that impersonation
// asks for.
func impersonationRoles(r *rand.Rand) []kinds.Object {
	modes := []string{"impersonate", "impersonate:user-info", "impersonate:serviceaccount", "impersonate:arbitrary-node", "impersonate:associated-node", "impersonate"}
	on := []string{"impersonate-on:user-info:create", "impersonate-on:serviceaccount:create", "impersonate-on:arbitrary-node:create", "impersonate-on:serviceaccount:*"}
	resources := []string{"users", "groups", "serviceaccounts", "nodes", "uids", "userextras/scopes", "userextras/example.com/team", "userextras/*", "*"}
	var out []kinds.Object
	for i := range 6 {
		name := fmt.Sprintf("impersonator-%d", i)
		who := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: fmt.Sprintf("user-%d", i)}}
		var list []rbacv1.PolicyRule
		for range 4 + r.IntN(4) {
			rule := rbacv1.PolicyRule{Verbs: some(r, modes), APIGroups: pick(r, [][]string{{""}, {"authentication.k8s.io"}, {"*"}}), Resources: some(r, resources)}
			if r.IntN(4) == 0 {
				rule.ResourceNames = append(some(r, impersonated[:9]), "crew", "1", "v", "n1", "*")
			}
			list = append(list, rule)
		}
		list = append(list, rbacv1.PolicyRule{Verbs: some(r, on), APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"selfsubjectreviews"}})
		out = append(out,
			&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: list},
			&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: reference("ClusterRole", name), Subjects: who},
		)
	}
	return out
}

func web(t *testing.T, cfg *rest.Config) *http.Client {
	t.Helper()
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certified is how a user with a certificate of the cluster's authority reaches
// both servers.
func certified(t *testing.T, c *fixture.Cluster, one, other *rest.Config, name string) (a, b *rest.Config) {
	t.Helper()
	ca, err := pki.LoadAuthority(filepath.Join(c.Keys, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := ca.Issue(pki.Request{CommonName: name, Client: true})
	if err != nil {
		t.Fatal(err)
	}
	with := func(server *rest.Config) *rest.Config {
		cfg := rest.AnonymousClientConfig(server)
		cfg.CertData, cfg.KeyData = own.CertPEM, own.KeyPEM
		return cfg
	}
	return with(one), with(other)
}
