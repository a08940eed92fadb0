package audit

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// kept is a backend that keeps events as they are when it is given them.
type kept struct {
	events []*auditinternal.Event
	full   bool
}

func (k *kept) ProcessEvents(events ...*auditinternal.Event) bool {
	for _, e := range events {
		k.events = append(k.events, e.DeepCopy())
	}
	return !k.full
}
func (k *kept) Run(<-chan struct{}) error { return nil }
func (k *kept) Shutdown()                 {}
func (k *kept) String() string            { return "kept" }

func (k *kept) stages() (out []string) {
	for _, e := range k.events {
		out = append(out, string(e.Stage))
	}
	return out
}

func auditor(k *kept, level auditinternal.Level) *Auditor {
	return &Auditor{policy: policy.NewPolicyRuleEvaluator(&auditinternal.Policy{Rules: []auditinternal.PolicyRule{{Level: level}}}), backend: k}
}

var (
	jane = &user.DefaultInfo{Name: "jane"}
	maps = authorizer.AttributesRecord{Verb: "create", APIVersion: "v1", Resource: "configmaps", Namespace: "default", ResourceRequest: true}
)

func TestStages(t *testing.T) {
	tests := []struct {
		name  string
		level auditinternal.Level
		long  bool
		do    func(ctx context.Context, r *Record)
		want  []string
		code  int32
	}{
		{"short", auditinternal.LevelMetadata, false, func(_ context.Context, r *Record) { r.Began(201); r.Done(nil) }, []string{"RequestReceived", "ResponseComplete"}, 201},
		{"long", auditinternal.LevelMetadata, true, func(_ context.Context, r *Record) { r.Began(200); r.Began(500); r.Done(nil) }, []string{"RequestReceived", "ResponseStarted", "ResponseComplete"}, 200},
		{"closed early", auditinternal.LevelMetadata, true, func(_ context.Context, r *Record) { r.Done(nil) }, []string{"RequestReceived", "ResponseStarted", "ResponseComplete"}, 200},
		{"panic", auditinternal.LevelMetadata, false, func(_ context.Context, r *Record) { r.Done("oh") }, []string{"RequestReceived", "Panic"}, 500},
		{"nothing", auditinternal.LevelNone, false, func(_ context.Context, r *Record) { r.Began(200); r.Done(nil) }, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := &kept{}
			q, r := auditor(k, tt.level).Receive(httptest.NewRequest(http.MethodPost, "/api/v1/x", nil), "id", tt.long, time.Now())
			if err := Begin(q.Context(), jane, maps); err != nil {
				t.Fatal(err)
			}
			tt.do(q.Context(), r)
			if !slices.Equal(k.stages(), tt.want) {
				t.Fatalf("got %v", k.stages())
			}
			if len(tt.want) == 0 {
				return
			}
			last := k.events[len(k.events)-1]
			if last.ResponseStatus.Code != tt.code || last.User.Username != "jane" || last.ObjectRef.Resource != "configmaps" || last.AuditID != "id" {
				t.Errorf("%+v", last)
			}
		})
	}
}

func TestRefusedCallersHaveOneEvent(t *testing.T) {
	k := &kept{}
	q := httptest.NewRequest(http.MethodGet, "/", nil)
	q.Header.Set("Authorization", "Bearer x")
	q, r := auditor(k, auditinternal.LevelMetadata).Receive(q, "id", false, time.Now())
	Refuse(q.Context(), authorizer.AttributesRecord{Verb: "get", Path: "/"})
	r.Began(http.StatusUnauthorized)
	r.Done(nil)
	if !slices.Equal(k.stages(), []string{"ResponseStarted"}) || k.events[0].ResponseStatus.Message != "Authentication failed, attempted: bearer" {
		t.Errorf("%v, %+v", k.stages(), k.events[0].ResponseStatus)
	}
}

func TestStrictModeRefusesWhatIsNotRecorded(t *testing.T) {
	for mode, refused := range map[string]bool{BlockingStrict: true, Blocking: false} {
		k := &kept{full: true}
		a := auditor(k, auditinternal.LevelMetadata)
		a.backend = (&Delivery{Mode: mode}).wrap(k)
		q, _ := a.Receive(httptest.NewRequest(http.MethodGet, "/", nil), "id", false, time.Now())
		if err := Begin(q.Context(), jane, maps); apierrors.IsInternalError(err) != refused {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestBodies(t *testing.T) {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "u", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}}
	answer, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	for level, want := range map[auditinternal.Level][2]bool{
		auditinternal.LevelMetadata: {false, false}, auditinternal.LevelRequest: {true, false}, auditinternal.LevelRequestResponse: {true, true},
	} {
		k := &kept{}
		a := auditor(k, level)
		a.policy = policy.NewPolicyRuleEvaluator(&auditinternal.Policy{OmitManagedFields: true, Rules: []auditinternal.PolicyRule{{Level: level}}})
		q, r := a.Receive(httptest.NewRequest(http.MethodPost, "/", nil), "id", false, time.Now())
		if err := Begin(q.Context(), jane, maps); err != nil {
			t.Fatal(err)
		}
		Object(q.Context(), object, corev1.SchemeGroupVersion.WithKind("ConfigMap"), corev1.SchemeGroupVersion.WithResource("configmaps"), "")
		Answer(q.Context(), func() ([]byte, error) { return answer, nil })
		r.Began(200)
		r.Done(nil)
		e := k.events[len(k.events)-1]
		if e.ObjectRef.Name != "a" || e.ObjectRef.UID != "u" {
			t.Errorf("%s: about %+v", level, e.ObjectRef)
		}
		if got := [2]bool{e.RequestObject != nil, e.ResponseObject != nil}; got != want {
			t.Errorf("%s: %v", level, got)
			continue
		}
		if want[0] && (!strings.Contains(string(e.RequestObject.Raw), `"kind":"ConfigMap"`) || strings.Contains(string(e.RequestObject.Raw), "managedFields")) {
			t.Errorf("%s: request %s", level, e.RequestObject.Raw)
		}
		if want[1] && strings.Contains(string(e.ResponseObject.Raw), "managedFields") {
			t.Errorf("%s: answer %s", level, e.ResponseObject.Raw)
		}
	}
}

func TestDecisions(t *testing.T) {
	tests := map[string]struct {
		decision authorizer.Decision
		err      error
		want     map[string]string
	}{
		"allowed":   {authorizer.DecisionAllow, errors.New("one of several"), map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "why"}},
		"forbidden": {authorizer.DecisionNoOpinion, nil, map[string]string{"authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": "why"}},
		"failed":    {authorizer.DecisionNoOpinion, errors.New("x"), map[string]string{"authorization.k8s.io/reason": "internal error"}},
	}
	for name, tt := range tests {
		k := &kept{}
		q, r := auditor(k, auditinternal.LevelMetadata).Receive(httptest.NewRequest(http.MethodGet, "/", nil), "id", false, time.Now())
		if err := Begin(q.Context(), jane, maps); err != nil {
			t.Fatal(err)
		}
		Decide(q.Context(), tt.decision, "why", tt.err)
		r.Done(nil)
		got := k.events[len(k.events)-1].Annotations
		if len(got) != len(tt.want) {
			t.Errorf("%s: %v", name, got)
		}
		for key, value := range tt.want {
			if got[key] != value {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
}

func TestWithoutAnAuditor(t *testing.T) {
	var a *Auditor
	q, r := a.Receive(httptest.NewRequest(http.MethodGet, "/", nil), "id", false, time.Now())
	ctx := q.Context()
	if err := Begin(ctx, jane, maps); err != nil || r != nil {
		t.Error(err, r)
	}
	r.Began(200)
	r.Done(nil)
	Decide(ctx, authorizer.DecisionAllow, "", nil)
	Impersonate(ctx, jane, "")
	Status(ctx, &metav1.Status{})
	Answer(ctx, func() ([]byte, error) { t.Error("encoded"); return nil, nil })
	if all, body := Annotators(ctx); all != nil || body != nil {
		t.Error("annotators")
	}
}
