package authorization

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

// TestRulesEqualUpstreams compares what each user may do in each namespace, as
// `kubectl auth can-i --list` asks.
func TestRulesEqualUpstreams(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	theirs := startUpstream(t, c)
	r := rand.New(rand.NewPCG(seed, 1))
	create(t, c, world(r))
	create(t, c, append(roleSet(r, 0), sentinels(0)...))
	settled(t, servers(t, theirs), 0)
	n := 0
	for _, user := range append(users(), "system:node:n1") {
		if user == "" {
			continue
		}
		who := rest.ImpersonationConfig{UserName: user, Groups: some(r, groups[:4])}
		if strings.HasPrefix(user, "system:node:") {
			who.Groups = []string{"system:nodes"}
		}
		as := func(cfg *rest.Config) kubernetes.Interface {
			cfg = rest.CopyConfig(cfg)
			cfg.Impersonate = who
			return servers(t, cfg)
		}
		up, us := as(theirs), as(c.Config)
		for _, namespace := range append([]string{"absent"}, namespaces...) {
			want, got := rulesOf(t, up, namespace), rulesOf(t, us, namespace)
			n++
			if want != got {
				t.Errorf("%+v in %s\nupstream\n%s\nwe\n%s", who, namespace, want, got)
			}
		}
	}
	t.Logf("%d lists of rules are equal", n)
}

// rulesOf are the rules in an order of their own: upstream's is that of a map.
func rulesOf(t *testing.T, c kubernetes.Interface, namespace string) string {
	t.Helper()
	review, err := c.AuthorizationV1().SelfSubjectRulesReviews().Create(context.Background(),
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}, metav1.CreateOptions{})
	if err != nil {
		return err.Error() // nobody without a group may ask
	}
	var lines []string
	for _, rule := range review.Status.ResourceRules {
		lines = append(lines, fmt.Sprintf("%q", rule))
	}
	for _, rule := range review.Status.NonResourceRules {
		lines = append(lines, fmt.Sprintf("%q", rule))
	}
	slices.Sort(lines)
	return fmt.Sprintf("%v incomplete %v error %s", strings.Join(lines, "\n"), review.Status.Incomplete, canonical("RBAC: "+review.Status.EvaluationError))
}

const (
	authorizationPath  = "/apis/authorization.k8s.io/v1/"
	authenticationPath = "/apis/authentication.k8s.io/v1/"
)

// reviews are questions that cannot be asked so, or that are odd.
var reviews = []struct{ name, path, body string }{
	{"nothing", authorizationPath + "subjectaccessreviews", `{}`},
	{"no user", authorizationPath + "subjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`},
	{"a resource and a path", authorizationPath + "subjectaccessreviews", `{"spec":{"user":"x","resourceAttributes":{"verb":"get"},"nonResourceAttributes":{"path":"/"}}}`},
	{"metadata", authorizationPath + "subjectaccessreviews", `{"metadata":{"name":"x","labels":{"a":"b"}},"spec":{"user":"x","nonResourceAttributes":{"path":"/"}}}`},
	{"another kind", authorizationPath + "subjectaccessreviews", `{"apiVersion":"v1","kind":"Pod"}`},
	{"a status of one's own", authorizationPath + "subjectaccessreviews", `{"spec":{"user":"x","nonResourceAttributes":{"path":"/"}},"status":{"allowed":true,"reason":"I say so"}}`},
	{"a group alone", authorizationPath + "subjectaccessreviews", `{"spec":{"groups":["system:masters"],"nonResourceAttributes":{"path":"/x","verb":"get"}}}`},
	{"extra and uid", authorizationPath + "subjectaccessreviews", `{"spec":{"user":"u","uid":"1","extra":{"A":["b"],"c":null},"nonResourceAttributes":{"path":"/version","verb":"get"}}}`},
	{"both selectors twice", authorizationPath + "subjectaccessreviews", `{"spec":{"user":"u","resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"rawSelector":"a=b","requirements":[{"key":"a","operator":"In","values":["b"]}]},"labelSelector":{"rawSelector":"a","requirements":[{"key":"a","operator":"Exists"}]}}}}`},
	{"empty selectors", authorizationPath + "subjectaccessreviews", `{"spec":{"user":"u","resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{},"labelSelector":{}}}}`},
	{"selectors that do not parse", authorizationPath + "subjectaccessreviews", `{"spec":{"user":"u","resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"rawSelector":"a"},"labelSelector":{"rawSelector":"a=,=b"}}}}`},
	{"a field in two values", authorizationPath + "subjectaccessreviews", `{"spec":{"user":"u","resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"a","operator":"In","values":["b","c"]},{"key":"d","operator":"NotIn","values":["e"]},{"key":"","operator":"In"}]}}}}`},
	{"operators of the future", authorizationPath + "subjectaccessreviews", `{"spec":{"user":"u","resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"a","operator":"Near","values":["b"]}]},"labelSelector":{"requirements":[{"key":"a","operator":"Near","values":["b"]}]}}}}`},
	{"a value that is none", authorizationPath + "subjectaccessreviews", `{"spec":{"user":"u","resourceAttributes":{"verb":"list","resource":"pods","labelSelector":{"requirements":[{"key":"a","operator":"In","values":["-"]},{"key":"b","operator":"In"},{"key":"c","operator":"Exists","values":["x"]}]}}}}`},
	{"self: nothing", authorizationPath + "selfsubjectaccessreviews", `{"spec":{}}`},
	{"self: metadata", authorizationPath + "selfsubjectaccessreviews", `{"metadata":{"generateName":"x-"},"spec":{"nonResourceAttributes":{"path":"/"}}}`},
	{"self: everything", authorizationPath + "selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"*","group":"*","resource":"*"}}}`},
	{"local: fits", authorizationPath + "namespaces/default/localsubjectaccessreviews", `{"metadata":{"namespace":"default"},"spec":{"user":"u","resourceAttributes":{"namespace":"default","verb":"get","resource":"pods"}}}`},
	{"local: namespace of the URL", authorizationPath + "namespaces/default/localsubjectaccessreviews", `{"spec":{"user":"u","resourceAttributes":{"namespace":"default","verb":"get","resource":"pods"}}}`},
	{"local: another namespace", authorizationPath + "namespaces/default/localsubjectaccessreviews", `{"spec":{"user":"u","resourceAttributes":{"namespace":"other","verb":"get","resource":"pods"}}}`},
	{"local: another namespace in the metadata", authorizationPath + "namespaces/default/localsubjectaccessreviews", `{"metadata":{"namespace":"other"},"spec":{"user":"u","resourceAttributes":{"namespace":"other","verb":"get","resource":"pods"}}}`},
	{"local: a path", authorizationPath + "namespaces/default/localsubjectaccessreviews", `{"spec":{"user":"u","nonResourceAttributes":{"path":"/"}}}`},
	{"local: named", authorizationPath + "namespaces/default/localsubjectaccessreviews", `{"metadata":{"name":"x"},"spec":{"user":"u","resourceAttributes":{"namespace":"default"}}}`},
	{"local: nobody, nothing", authorizationPath + "namespaces/default/localsubjectaccessreviews", `{"spec":{}}`},
	{"rules: no namespace", authorizationPath + "selfsubjectrulesreviews", `{"spec":{}}`},
	{"rules of a namespace that is none", authorizationPath + "selfsubjectrulesreviews", `{"spec":{"namespace":"Not A Name"}}`},
	{"token: none", authenticationPath + "tokenreviews", `{"spec":{}}`},
	{"token: unknown", authenticationPath + "tokenreviews", `{"spec":{"token":"x"}}`},
	{"token: in three parts", authenticationPath + "tokenreviews", `{"spec":{"token":"a.b.c","audiences":["x"]}}`},
	{"token: of our issuer, forged", authenticationPath + "tokenreviews", `{"spec":{"token":"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCJ9.AAAA"}}`},
	{"token: metadata", authenticationPath + "tokenreviews", `{"metadata":{"name":"x"},"spec":{"token":"x"}}`},
	{"self: who", authenticationPath + "selfsubjectreviews", `{}`},
	{"self: who, with metadata", authenticationPath + "selfsubjectreviews", `{"metadata":{"name":"x","labels":{"a":"b"}}}`},
	{"a list of reviews", authorizationPath + "subjectaccessreviews", `[]`},
	{"dry run", authorizationPath + "subjectaccessreviews?dryRun=All", `{"spec":{"user":"u","nonResourceAttributes":{"path":"/version","verb":"get"}}}`},
	{"unknown fields", authorizationPath + "subjectaccessreviews?fieldValidation=Strict", `{"spec":{"user":"u","group":["g"],"nonResourceAttributes":{"path":"/version","verb":"get"}}}`},
}

// TestReviewsAreRefusedAlike sends each to both servers and compares the whole
// answers.
func TestReviewsAreRefusedAlike(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	theirs := startUpstream(t, c)
	for _, q := range reviews {
		t.Run(q.name, func(t *testing.T) {
			want, got := post(t, theirs, q.path, q.body), post(t, c.Config, q.path, q.body)
			if want != got {
				t.Errorf("%s\nupstream %s\nwe       %s", q.body, want, got)
			}
		})
	}
}

func post(t *testing.T, cfg *rest.Config, path, body string) string {
	t.Helper()
	web, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, err := web.Post(cfg.Host+path, "application/json", bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(r.StatusCode, " ", http.StatusText(r.StatusCode), " ", withoutTimes(b))
}

// withoutTimes leaves out what no two servers say alike.
func withoutTimes(b []byte) string {
	var v map[string]any
	if json.Unmarshal(b, &v) != nil {
		return string(b)
	}
	if meta, ok := v["metadata"].(map[string]any); ok {
		delete(meta, "creationTimestamp")
		delete(meta, "managedFields") // differences.md
	}
	if status, ok := v["status"].(map[string]any); ok {
		for _, rules := range []string{"resourceRules", "nonResourceRules"} {
			if list, ok := status[rules].([]any); ok { // in the order of a map
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
	}
	out, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return times.ReplaceAllString(string(out), "TIME")
}

var times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
