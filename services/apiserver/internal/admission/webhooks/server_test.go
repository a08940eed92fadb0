package webhooks

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"go.uber.org/zap/zaptest"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/admission/request"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/backend"
	behaviour "coracle.local/services/apiserver/internal/kinds"
	"coracle.local/services/apiserver/internal/strategy"
	"coracle.local/services/apiserver/internal/webhook"
)

// server is a server of webhooks: each path is one.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	asked []admissionv1.AdmissionReview // in order
	paths []string
}

// serve answers each path with a function of the question.
func serve(t *testing.T, answers map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.asked = append(s.asked, in)
		s.paths = append(s.paths, r.URL.String())
		s.mu.Unlock()
		answer := answers[r.URL.Path]
		if answer == nil {
			http.Error(w, "no such webhook", http.StatusNotFound)
			return
		}
		out := admissionv1.AdmissionReview{TypeMeta: in.TypeMeta, Response: answer(in.Request)}
		if out.Response != nil && out.Response.UID == "" {
			out.Response.UID = in.Request.UID
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out)
	}))
	t.Cleanup(s.Close)
	return s
}

// client is where a path of the server is.
func (s *server) client(path string) admissionregistrationv1.WebhookClientConfig {
	u := s.URL + path
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return admissionregistrationv1.WebhookClientConfig{URL: &u, CABundle: bundle}
}

func ok(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true}
}

// patching answers with a JSON patch.
func patching(patch string) func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		form := admissionv1.PatchTypeJSONPatch
		return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(patch), PatchType: &form}
	}
}

func denying(s *metav1.Status) func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: s}
	}
}

// config is what a plugin needs, around a cluster.
func config(t *testing.T, c *authtest.Cluster) Config {
	t.Helper()
	strategies := behaviour.Strategies()
	clients := webhook.New(backend.Backends{Objects: backend.Cached(c)})
	t.Cleanup(clients.Close)
	return Config{Log: zaptest.NewLogger(t), Caller: clients, Environment: &request.Environment{
		Reader: c,
		Live: func(_ context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
			return nil, apierrors.NewNotFound(k.GroupResource(), name)
		},
		Strategy: func(k *kinds.Kind) *strategy.Erased { return strategies[k] },
		Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			if a.GetUser().GetName() == "alice" && a.GetVerb() == "shout" {
				return authorizer.DecisionAllow, "", nil
			}
			return authorizer.DecisionNoOpinion, "", nil
		}),
	}}
}

func completed[T kinds.Object](o T) T {
	behaviour.Strategies()[kinds.For[T]()].Default(o)
	return o
}

func namespace(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func configMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "m"}, Data: data}
}

func created(o kinds.Object) *admission.Attributes {
	return &admission.Attributes{
		Kind: kinds.ForObject(o), Namespace: o.GetNamespace(), Name: o.GetName(), Operation: admission.Create, Object: o, User: authtest.User("alice"),
		Options: &metav1.CreateOptions{FieldManager: "test"},
	}
}

func rule(group, version, resource string, operations ...admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: operations,
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}},
	}}
}

var none = admissionregistrationv1.SideEffectClassNone

var _ auth.Reader = (*authtest.Cluster)(nil)
