// Package authorization asks upstream's server and ours the same questions about
// rights, over one etcd, and compares each answer.
package authorization

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	"coracle.local/tests/fixture"
)

const (
	seed     = 20260501
	total    = 20000
	roleSets = 10
	// askers are how many questions are on their way at a time; they share one
	// connection to each server.
	askers = 32
)

// TestAnswersEqualUpstreams asks 20,000 questions; CORACLE_SEED chooses others.
func TestAnswersEqualUpstreams(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	with := uint64(seed)
	if s := os.Getenv("CORACLE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		with = n
	}
	r := rand.New(rand.NewPCG(with, 0))
	theirs := servers(t, startUpstream(t, c))
	ours := servers(t, c.Config)
	create(t, c, world(r))

	var compared, allowed, reasons, unsettled atomic.Int64
	for set := range roleSets {
		objects := append(roleSet(r, set), sentinels(set)...)
		create(t, c, objects)
		settled(t, theirs, set)
		questions := make([]*authorizationv1.SubjectAccessReview, total/roleSets)
		for i := range questions {
			questions[i] = question(r)
		}
		each(questions, func(q *authorizationv1.SubjectAccessReview) {
			want, got := ask(t, theirs, q), ask(t, ours, q)
			compared.Add(1)
			if want.Allowed {
				allowed.Add(1)
			}
			if want.Reason != "" {
				reasons.Add(1)
			}
			if got == want {
				return
			}
			if !oneOf(t, theirs, q, got) {
				unsettled.Add(1)
				b, _ := json.Marshal(q.Spec)
				t.Errorf("question %s\nupstream %+v\nwe       %+v", b, want, got)
			}
		})
		remove(t, c, objects)
		if unsettled.Load() > 20 {
			t.Fatal("too many answers differ; the others are not asked for")
		}
	}
	t.Logf("%d answers compared, %d of them allow, %d have a reason; seed %d", compared.Load(), allowed.Load(), reasons.Load(), with)
	if a := allowed.Load(); a < total/20 || a > total*3/4 {
		t.Errorf("%d of %d are allowed: the questions do not ask much", a, total)
	}
}

func servers(t *testing.T, cfg *rest.Config) kubernetes.Interface {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	out, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ask(t *testing.T, c kubernetes.Interface, q *authorizationv1.SubjectAccessReview) authorizationv1.SubjectAccessReviewStatus {
	out, err := c.AuthorizationV1().SubjectAccessReviews().Create(context.Background(), q, metav1.CreateOptions{})
	if err != nil {
		return authorizationv1.SubjectAccessReviewStatus{EvaluationError: "refused: " + err.Error()}
	}
	out.Status.Reason = canonical(out.Status.Reason)
	return out.Status
}

// canonical sorts the roles that are bound and missing: upstream names them in
// the order of a Go map.
func canonical(reason string) string {
	before, list, ok := strings.Cut(reason, "RBAC: [")
	if !ok {
		return reason
	}
	list, after, ok := strings.Cut(list, "]")
	if !ok {
		return reason
	}
	parts := strings.Split(list, ", ")
	slices.Sort(parts)
	return before + "RBAC: [" + strings.Join(parts, ", ") + "]" + after
}

// oneOf tells whether upstream gives our answer, too, when it is asked again:
// where several bindings allow, it names the one that comes first in a Go map.
func oneOf(t *testing.T, c kubernetes.Interface, q *authorizationv1.SubjectAccessReview, got authorizationv1.SubjectAccessReviewStatus) bool {
	if !got.Allowed || !strings.HasPrefix(got.Reason, "RBAC: allowed by") {
		return false
	}
	for range 100 {
		if ask(t, c, q) == got {
			return true
		}
	}
	return false
}

func each[T any](items []T, do func(T)) {
	var group sync.WaitGroup
	next := make(chan T)
	for range askers {
		group.Go(func() {
			for item := range next {
				do(item)
			}
		})
	}
	for _, item := range items {
		next <- item
	}
	close(next)
	group.Wait()
}

func create(t *testing.T, c *fixture.Cluster, objects []kinds.Object) {
	t.Helper()
	for _, o := range objects {
		if _, err := client.Dynamic(c.Conn, kinds.ForObject(o)).Create(context.Background(), o); err != nil {
			t.Fatalf("create %s %s/%s: %v", kinds.ForObject(o), o.GetNamespace(), o.GetName(), err)
		}
	}
}

func remove(t *testing.T, c *fixture.Cluster, objects []kinds.Object) {
	t.Helper()
	for _, o := range objects {
		if err := client.Dynamic(c.Conn, kinds.ForObject(o)).Delete(context.Background(), o.GetNamespace(), o.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Fatalf("delete %s %s/%s: %v", kinds.ForObject(o), o.GetNamespace(), o.GetName(), err)
		}
	}
}

// sentinels are the last objects of a set: a server that has them has all.
func sentinels(set int) []kinds.Object {
	name := fmt.Sprintf("sentinel-%d", set)
	allow := []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"sentinel"}, Resources: []string{name}}}
	who := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "sentinel"}}
	meta := metav1.ObjectMeta{Name: name}
	inNamespace := metav1.ObjectMeta{Namespace: namespaces[0], Name: name}
	return []kinds.Object{
		&rbacv1.ClusterRole{ObjectMeta: meta, Rules: allow},
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: reference("ClusterRole", name), Subjects: who},
		&rbacv1.Role{ObjectMeta: inNamespace, Rules: []rbacv1.PolicyRule{{Verbs: []string{"list"}, APIGroups: []string{"sentinel"}, Resources: []string{name}}}},
		&rbacv1.RoleBinding{ObjectMeta: inNamespace, RoleRef: reference("Role", name), Subjects: who},
	}
}

const waitFor = time.Minute

// may tells whether a server allows it.
func may(t *testing.T, c kubernetes.Interface, user string, groups []string, a authorizationv1.ResourceAttributes) func() bool {
	q := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, ResourceAttributes: &a}}
	return func() bool { return ask(t, c, q).Allowed }
}

// sentinel tells whether a server has seen the cluster roles of a set, and
// sentinelOfNamespace the roles.
func sentinel(t *testing.T, c kubernetes.Interface, set int) func() bool {
	return may(t, c, "sentinel", nil, authorizationv1.ResourceAttributes{Verb: "get", Group: "sentinel", Resource: fmt.Sprintf("sentinel-%d", set)})
}

func sentinelOfNamespace(t *testing.T, c kubernetes.Interface, set int) func() bool {
	return may(t, c, "sentinel", nil, authorizationv1.ResourceAttributes{Verb: "list", Group: "sentinel", Resource: fmt.Sprintf("sentinel-%d", set), Namespace: namespaces[0]})
}

// settled waits until upstream's server has seen the set, and the world.
func settled(t *testing.T, c kubernetes.Interface, set int) {
	t.Helper()
	fixture.Eventually(t, waitFor, "seen: the cluster roles", sentinel(t, c, set))
	fixture.Eventually(t, waitFor, "seen: the roles", sentinelOfNamespace(t, c, set))
	if set > 0 {
		return
	}
	for _, last := range worldSeen {
		fixture.Eventually(t, waitFor, "seen: "+last.Resource, may(t, c, "system:node:sentinel", []string{"system:nodes"}, last))
	}
}

// worldSeen are what a kubelet may do once the last object of each kind of the
// world is seen.
var worldSeen = []authorizationv1.ResourceAttributes{
	{Verb: "get", Resource: "secrets", Namespace: "amber", Name: "sentinel"},
	{Verb: "get", Resource: "secrets", Namespace: "amber", Name: "sentinel-csi"},
	{Verb: "get", Group: "storage.k8s.io", Resource: "volumeattachments", Name: "sentinel"},
	{Verb: "get", Group: "resource.k8s.io", Resource: "resourceslices", Name: "sentinel"},
}
