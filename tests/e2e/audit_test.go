package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/kinds"
	apiv1 "coracle.local/proto/coracle/api/v1"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
)

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- level: None
  userGroups: ["system:nodes", "system:serviceaccounts"]
- level: None
  users: ["system:kube-scheduler", "system:kube-controller-manager"]
- level: RequestResponse
  resources: [{group: "", resources: [configmaps]}]
- level: Metadata
  resources: [{group: "", resources: [secrets, "pods/*"]}]
  omitStages: [RequestReceived]
- level: Metadata
  resources: [{group: "", resources: [namespaces]}]
  verbs: [get]
- level: Metadata
  nonResourceURLs: ["/version*"]
- level: None
`

// audited is what the test's cluster has recorded so far.
type audited struct{ path string }

func (a audited) find(t *testing.T, match func(*auditv1.Event) bool) *auditv1.Event {
	raw, err := os.ReadFile(a.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
		e := &auditv1.Event{}
		if err := json.Unmarshal(line, e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if match(e) {
			return e
		}
	}
	return nil
}

// await waits for an event: the last is written when the client has its answer.
func (a audited) await(t *testing.T, what string, match func(*auditv1.Event) bool) (found *auditv1.Event) {
	t.Helper()
	fixture.Eventually(t, 10*time.Second, "recorded: "+what, func() bool { found = a.find(t, match); return found != nil })
	return found
}

func about(verb, resource, name string, stage auditv1.Stage) func(*auditv1.Event) bool {
	return func(e *auditv1.Event) bool {
		return e.Verb == verb && e.ObjectRef != nil && e.ObjectRef.Resource == resource && e.ObjectRef.Name == name && e.Stage == stage
	}
}

// collector is a webhook that keeps what it is sent.
type collector struct {
	mu     sync.Mutex
	events []auditv1.Event
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	var list auditv1.EventList
	if json.Unmarshal(raw, &list) == nil {
		c.mu.Lock()
		c.events = append(c.events, list.Items...)
		c.mu.Unlock()
	}
}

func (c *collector) has(match func(*auditv1.Event) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.events {
		if match(&c.events[i]) {
			return true
		}
	}
	return false
}

// startAudited runs a cluster that records to a file and a webhook.
func startAudited(t *testing.T) (*fixture.Cluster, audited, *collector) {
	dir := t.TempDir()
	hook := &collector{}
	server := httptest.NewServer(hook)
	t.Cleanup(server.Close)
	policy, config, path := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "webhook.yaml"), filepath.Join(dir, "log", "audit.log")
	kubeconfig := "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: " + server.URL +
		"}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\nusers: [{name: a, user: {}}]\n"
	for file, text := range map[string]string{policy: auditPolicy, config: kubeconfig} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := fixture.Start(t, cluster.Config{APIServer: func(cfg *apiserver.Config) {
		cfg.Audit = apiserver.DefaultAudit()
		cfg.Audit.PolicyFile, cfg.Audit.Log.Path, cfg.Audit.Webhook.ConfigFile = policy, path, config
		cfg.Audit.Webhook.Delivery.Batch.MaxBatchWait = 50 * time.Millisecond
	}})
	return c, audited{path}, hook
}

func TestAudit(t *testing.T) {
	c, log, hook := startAudited(t)
	ctx := t.Context()
	maps := c.Clients.CoreV1().ConfigMaps("default")
	if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	t.Run("bodies", func(t *testing.T) {
		log.await(t, "reception", about("create", "configmaps", "", auditv1.StageRequestReceived))
		e := log.await(t, "creation", about("create", "configmaps", "a", auditv1.StageResponseComplete))
		if e.User.Username != "kubernetes-admin" || e.ObjectRef.Namespace != "default" || e.ResponseStatus.Code != http.StatusCreated ||
			e.RequestURI != "/api/v1/namespaces/default/configmaps" || e.Annotations["authorization.k8s.io/decision"] != "allow" ||
			e.AuditID == "" || len(e.SourceIPs) == 0 || e.UserAgent == "" {
			t.Errorf("%+v", e)
		}
		if !strings.Contains(string(e.RequestObject.Raw), `"k":"v"`) || !strings.Contains(string(e.RequestObject.Raw), `"kind":"ConfigMap"`) {
			t.Errorf("request %s", e.RequestObject.Raw)
		}
		if body := string(e.ResponseObject.Raw); !strings.Contains(body, `"uid":`) || strings.Contains(body, "managedFields") {
			t.Errorf("answer %s", body)
		}
		fixture.Eventually(t, 10*time.Second, "posted to the webhook", func() bool {
			return hook.has(func(have *auditv1.Event) bool { return have.AuditID == e.AuditID && have.Stage == e.Stage })
		})
	})

	t.Run("a patch, a list, a deletion", func(t *testing.T) {
		if _, err := maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"k":"w"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if e := log.await(t, "patch", about("patch", "configmaps", "a", auditv1.StageResponseComplete)); string(e.RequestObject.Raw) != `{"data":{"k":"w"}}` {
			t.Errorf("patch %s", e.RequestObject.Raw)
		}
		if _, err := maps.List(ctx, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		if e := log.await(t, "list", about("list", "configmaps", "", auditv1.StageResponseComplete)); !strings.Contains(string(e.ResponseObject.Raw), `"kind":"ConfigMapList"`) {
			t.Errorf("list %s", e.ResponseObject.Raw)
		}
		background := metav1.DeletePropagationBackground
		if err := maps.Delete(ctx, "a", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
			t.Fatal(err)
		}
		e := log.await(t, "deletion", about("delete", "configmaps", "a", auditv1.StageResponseComplete))
		if e.ResponseStatus.Status != metav1.StatusSuccess || e.ResponseStatus.Details.Name != "a" || !strings.Contains(string(e.RequestObject.Raw), `"propagationPolicy":"Background"`) {
			t.Errorf("deletion %+v, %s", e.ResponseStatus, e.RequestObject.Raw)
		}
	})

	t.Run("an impersonated user who may not", func(t *testing.T) {
		other := rest.CopyConfig(c.Config)
		other.Impersonate = rest.ImpersonationConfig{UserName: "jane", Groups: []string{"dev"}}
		if _, err := kubernetes.NewForConfigOrDie(other).CoreV1().Secrets("default").Get(ctx, "s", metav1.GetOptions{}); err == nil {
			t.Fatal("jane may")
		}
		e := log.await(t, "refusal", about("get", "secrets", "s", auditv1.StageResponseComplete))
		if e.User.Username != "kubernetes-admin" || e.ImpersonatedUser == nil || e.ImpersonatedUser.Username != "jane" ||
			e.Annotations["authorization.k8s.io/decision"] != "forbid" || e.ResponseStatus.Code != http.StatusForbidden ||
			e.ResponseStatus.Reason != metav1.StatusReasonForbidden || e.Level != auditv1.LevelMetadata {
			t.Errorf("%+v", e)
		}
	})

	t.Run("somebody unknown", func(t *testing.T) {
		unknown := rest.AnonymousClientConfig(c.Config)
		unknown.BearerToken = "nobody's"
		if _, err := kubernetes.NewForConfigOrDie(unknown).CoreV1().Secrets("default").Get(ctx, "unknown", metav1.GetOptions{}); err == nil {
			t.Fatal("the token is good")
		}
		e := log.await(t, "failed authentication", about("get", "secrets", "unknown", auditv1.StageResponseStarted))
		if e.ResponseStatus.Message != "Unauthorized" && e.ResponseStatus.Message != "Authentication failed, attempted: bearer" || e.ResponseStatus.Code != http.StatusUnauthorized {
			t.Errorf("%+v", e.ResponseStatus)
		}
	})

	t.Run("a watch", func(t *testing.T) {
		w, err := maps.Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		log.await(t, "beginning", about("watch", "configmaps", "", auditv1.StageResponseStarted))
		w.Stop()
		log.await(t, "end", about("watch", "configmaps", "", auditv1.StageResponseComplete))
	})

	t.Run("over gRPC", func(t *testing.T) {
		k := kinds.For[*corev1.Namespace]()
		out := &corev1.Namespace{}
		if err := c.Conn.GRPC().Invoke(ctx, "/"+k.Service()+"/Get", &apiv1.GetRequest{Name: "default"}, out); err != nil {
			t.Fatal(err)
		}
		e := log.await(t, "call", about("get", "namespaces", "default", auditv1.StageResponseComplete))
		if e.RequestURI != "/"+k.Service()+"/Get" || e.ResponseStatus.Code != http.StatusOK || e.User.Username == "" {
			t.Errorf("%+v", e)
		}
	})

	t.Run("what the policy leaves out", func(t *testing.T) {
		if _, err := c.Clients.Discovery().ServerVersion(); err != nil {
			t.Fatal(err)
		}
		log.await(t, "version", func(e *auditv1.Event) bool { return e.RequestURI == "/version" && e.ObjectRef == nil })
		if e := log.find(t, func(e *auditv1.Event) bool {
			return e.User.Username == "system:kube-scheduler" || e.ObjectRef != nil && e.ObjectRef.Resource == "leases"
		}); e != nil {
			t.Errorf("recorded: %+v", e)
		}
	})
}
