package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"coracle.local/libs/pki"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
)

// judge is a remote service of authorization: it allows friends to read, denies
// foes everything, and has no opinion about others.
type judge struct {
	asked, broken atomic.Int64
	friend        atomic.Pointer[authorizationv1.SubjectAccessReview] // the last question about one
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j.asked.Add(1)
	var review authorizationv1.SubjectAccessReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || j.broken.Load() > 0 {
		http.Error(w, "out of order", http.StatusBadRequest)
		return
	}
	switch review.Spec.User {
	case "friend":
		j.friend.Store(review.DeepCopy())
		review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "a friend"}
	case "foe":
		review.Status = authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "a foe"}
	default:
		review.Status = authorizationv1.SubjectAccessReviewStatus{Reason: "never seen"}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

func TestWebhookDecides(t *testing.T) {
	j := &judge{}
	service := remote(t, j.ServeHTTP)
	c := configured(t, func(cfg *apiserver.Config) {
		cfg.AuthorizationModes = []string{"Webhook", "RBAC"}
		cfg.Authorization.Webhook = apiserver.AuthorizationWebhook{File: service, Version: "v1", AuthorizedTTL: time.Minute, UnauthorizedTTL: time.Minute}
	})
	friend, foe, other := newWeb(t, certified(t, c, "friend")), newWeb(t, certified(t, c, "foe")), newWeb(t, certified(t, c, "other"))
	friend.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&labelSelector=a%20in%20(b,c)", asJSON).is(http.StatusOK)
	spec := j.friend.Load().Spec
	if a := spec.ResourceAttributes; a.Verb != "list" || a.Resource != "pods" || a.FieldSelector.Requirements[0].Values[0] != "n1" || a.LabelSelector.Requirements[0].Key != "a" {
		t.Errorf("asked %+v", spec)
	}
	j.friend.Store(nil)
	friend.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&labelSelector=a%20in%20(b,c)", asJSON).is(http.StatusOK)
	if j.friend.Load() != nil {
		t.Error("the answer was not remembered")
	}
	foe.get("/version", asJSON).refuses(http.StatusForbidden, metav1.StatusReasonForbidden, `forbidden: User "foe" cannot get path "/version": a foe`)
	other.get("/version", asJSON).is(http.StatusOK) // RBAC allows all who are known
	other.get("/api/v1/pods", asJSON).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
		`pods is forbidden: User "other" cannot list resource "pods" in API group "" at the cluster scope: default: never seen`)

	rules := as[authorizationv1.SelfSubjectRulesReview](other.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", `{"spec":{"namespace":"default"}}`))
	if !rules.Status.Incomplete || rules.Status.EvaluationError != "webhook authorizer does not support user rule resolution" || len(rules.Status.ResourceRules) == 0 {
		t.Errorf("rules %+v", rules.Status)
	}
}

const authorizationConfig = `
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: judge
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    authorizedTTL: 1s
    unauthorizedTTL: 1s
    cacheAuthorizedRequests: false
    cacheUnauthorizedRequests: false
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: %q}
    matchConditions:
    - expression: "request.user in ['%s', 'foe']"
- type: Node
  name: node
- type: RBAC
  name: rbac
`

func TestAuthorizationByConfiguration(t *testing.T) {
	j := &judge{}
	service := remote(t, j.ServeHTTP)
	path := file(t, "authorization.yaml", fmt.Sprintf(authorizationConfig, service, "friend"))
	c := configured(t, func(cfg *apiserver.Config) { cfg.Authorization.ConfigFile = path })
	friend, other := newWeb(t, certified(t, c, "friend")), newWeb(t, certified(t, c, "other"))
	friend.get("/api/v1/pods", asJSON).is(http.StatusOK)
	n := j.asked.Load()
	other.get("/api/v1/pods", asJSON).is(http.StatusForbidden)
	if j.asked.Load() != n {
		t.Error("asked though the condition does not hold")
	}
	j.broken.Store(1)
	newWeb(t, certified(t, c, "foe")).get("/version", asJSON).is(http.StatusInternalServerError)
	j.broken.Store(0)

	replace(t, path, fmt.Sprintf(authorizationConfig, service, "nobody"))
	fixture.Eventually(t, 30*time.Second, "taken over: the new condition", func() bool { return friend.get("/api/v1/pods", asJSON).code == http.StatusForbidden })
	// Without a mode that there was from the start, a version is not taken over.
	replace(t, path, strings.Replace(fmt.Sprintf(authorizationConfig, service, "friend"), "- type: RBAC\n  name: rbac\n", "", 1))
	friend.get("/version", asJSON).is(http.StatusOK)
	friend.get("/api/v1/pods", asJSON).is(http.StatusForbidden)
}

func TestPoliciesOfAFile(t *testing.T) {
	policies := file(t, "policies.jsonl", `# who may what
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"joe","namespace":"default","resource":"configmaps","apiGroup":"","readonly":true}}

{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"crew","nonResourcePath":"/version"}}
`)
	c := configured(t, func(cfg *apiserver.Config) {
		cfg.AuthorizationModes, cfg.Authorization.PolicyFile = []string{"ABAC"}, policies
	})
	joe := newWeb(t, certified(t, c, "joe"))
	joe.get(mapsPath, asJSON).is(http.StatusOK)
	joe.post(mapsPath, `{"metadata":{"name":"x"}}`).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
		`configmaps is forbidden: User "joe" cannot create resource "configmaps" in API group "" in the namespace "default": abac: No policy matched.`)
	joe.get("/version", asJSON).is(http.StatusForbidden)
	newWeb(t, certified(t, c, "ann", "crew")).get("/version", asJSON).is(http.StatusOK)
}

// TestHeadersOfAProxy meets a proxy that has authenticated clients.
func TestHeadersOfAProxy(t *testing.T) {
	c := configured(t, func(cfg *apiserver.Config) { cfg.RequestHeader.UIDHeaders = []string{"X-Remote-Uid"} })
	says := map[string]string{"X-Remote-User": "far", "X-Remote-Uid": "u-1", "X-Remote-Group": "crew", "X-Remote-Extra-Example.com%2fteam": "blue"}
	self := func(cfg *rest.Config) *answer {
		return newWeb(t, cfg).send(http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{}`, says)
	}
	proxied := rest.AnonymousClientConfig(c.Config)
	front := frontProxy(t, c, "front-proxy-client")
	proxied.CertData, proxied.KeyData = front.CertPEM, front.KeyPEM
	var review struct {
		Status struct {
			UserInfo struct {
				Username, UID string
				Groups        []string
				Extra         map[string][]string
			}
		}
	}
	self(proxied).is(http.StatusCreated).into(&review)
	if u := review.Status.UserInfo; u.Username != "far" || u.UID != "u-1" || strings.Join(u.Groups, " ") != "crew system:authenticated" || u.Extra["example.com/team"][0] != "blue" {
		t.Errorf("user %+v", u)
	}
	front = frontProxy(t, c, "somebody")
	proxied.CertData, proxied.KeyData = front.CertPEM, front.KeyPEM
	self(proxied).refuses(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
	// A user's own certificate does not make the headers believed.
	self(certified(t, c, "joe")).is(http.StatusCreated).into(&review)
	if u := review.Status.UserInfo; u.Username != "joe" {
		t.Errorf("user %+v", u)
	}
}

// frontProxy is a certificate of the authority of proxies in front.
func frontProxy(t *testing.T, c *fixture.Cluster, name string) *pki.Credential {
	t.Helper()
	ca, err := pki.LoadAuthority(filepath.Join(c.Keys, "front-proxy-ca"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := ca.Issue(pki.Request{CommonName: name, Client: true})
	if err != nil {
		t.Fatal(err)
	}
	return own
}
