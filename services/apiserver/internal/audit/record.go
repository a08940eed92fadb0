package audit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	k8saudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Record is what is recorded of one request. A nil one records nothing.
type Record struct {
	auditor  *Auditor
	events   *k8saudit.AuditContext
	ctx      context.Context
	request  *http.Request
	received time.Time
	long     bool
	refused  bool
	began    sync.Once

	// config is set once it is known who asks; its level is empty before.
	config k8saudit.RequestAuditConfig
}

type recordKey struct{}

// Receive begins the record of a request. long tells that it may last, so that
// its beginning is worth an event. The request that it returns carries the
// record.
func (a *Auditor) Receive(r *http.Request, id string, long bool, received time.Time) (*http.Request, *Record) {
	if a == nil {
		return r, nil
	}
	ctx, record := a.begin(r.Context(), id, long, received)
	r = r.WithContext(ctx)
	record.request = r
	return r, record
}

func (a *Auditor) begin(ctx context.Context, id string, long bool, received time.Time) (context.Context, *Record) {
	ctx = k8saudit.WithAuditContext(ctx)
	k8saudit.WithAuditID(ctx, types.UID(id))
	record := &Record{auditor: a, events: k8saudit.AuditContextFrom(ctx), received: received, long: long}
	ctx = context.WithValue(ctx, recordKey{}, record)
	record.ctx = ctx
	return ctx, record
}

func from(ctx context.Context) *Record {
	r, _ := ctx.Value(recordKey{}).(*Record)
	return r
}

// at tells whether the record has at least a level.
func (r *Record) at(level auditinternal.Level) bool {
	return r != nil && r.config.Level != "" && r.config.Level != auditinternal.LevelNone && !r.config.Level.Less(level)
}

// Begin notes who asks for what, as soon as both are known, and before the
// caller becomes somebody else. An error says that the request must not go on
// unrecorded.
func Begin(ctx context.Context, u user.Info, a authorizer.AttributesRecord) error {
	r := from(ctx)
	if r == nil || r.config.Level != "" {
		return nil
	}
	a.User = u
	if err := r.evaluate(a); err != nil {
		return err
	}
	if r.at(auditinternal.LevelMetadata) && !r.events.ProcessEventStage(r.ctx, auditinternal.StageRequestReceived) {
		return apierrors.NewInternalError(errors.New("failed to store audit event"))
	}
	return nil
}

func (r *Record) evaluate(a authorizer.AttributesRecord) error {
	r.config = r.auditor.policy.EvaluatePolicyRule(a)
	if err := r.events.Init(r.config, r.auditor.backend); err != nil {
		return apierrors.NewInternalError(errors.New("failed to create audit event"))
	}
	if r.config.Level != auditinternal.LevelNone {
		k8saudit.LogRequestMetadata(r.ctx, r.request, r.received, a)
	}
	return nil
}

// Refuse notes that it could not be found out who asks.
func Refuse(ctx context.Context, a authorizer.AttributesRecord) {
	r := from(ctx)
	if r == nil || r.config.Level != "" || r.evaluate(a) != nil || !r.at(auditinternal.LevelMetadata) {
		return
	}
	r.events.SetEventResponseStatus(&metav1.Status{Message: attempted(r.request)})
	// Its only event is that an answer begins.
	r.long, r.refused = true, true
}

// attempted says how a caller tried to be recognized.
func attempted(r *http.Request) string {
	var ways []string
	if _, _, ok := r.BasicAuth(); ok {
		ways = append(ways, "basic")
	}
	parts := strings.Split(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if len(parts) > 1 && strings.EqualFold(parts[0], "bearer") {
		ways = append(ways, "bearer")
	}
	if strings.TrimSpace(r.URL.Query().Get("access_token")) != "" {
		ways = append(ways, "access_token")
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		ways = append(ways, "x509")
	}
	if len(ways) == 0 {
		return "Authentication failed, no credentials provided"
	}
	return "Authentication failed, attempted: " + strings.Join(ways, ", ")
}

// Impersonate notes whom the caller acts as, and by which right if it is a
// bounded one.
func Impersonate(ctx context.Context, u user.Info, constraint string) {
	if r := from(ctx); r.at(auditinternal.LevelMetadata) {
		k8saudit.LogImpersonatedUser(ctx, u, constraint)
	}
}

// Decide notes what authorization said.
func Decide(ctx context.Context, decision authorizer.Decision, reason string, err error) {
	if !from(ctx).at(auditinternal.LevelMetadata) {
		return
	}
	switch {
	case decision == authorizer.DecisionAllow:
		k8saudit.AddAuditAnnotations(ctx, "authorization.k8s.io/decision", "allow", "authorization.k8s.io/reason", reason)
	case err != nil:
		k8saudit.AddAuditAnnotations(ctx, "authorization.k8s.io/reason", "internal error")
	default:
		k8saudit.AddAuditAnnotations(ctx, "authorization.k8s.io/decision", "forbid", "authorization.k8s.io/reason", reason)
	}
}

// Annotators add facts to the events of a request: any, and those that are for
// events with bodies. Both are nil if nothing is recorded.
func Annotators(ctx context.Context) (all, body func(key, value string)) {
	r := from(ctx)
	if !r.at(auditinternal.LevelMetadata) {
		return nil, nil
	}
	add := func(key, value string) { k8saudit.AddAuditAnnotation(ctx, key, value) }
	if !r.at(auditinternal.LevelRequest) {
		return add, func(string, string) {}
	}
	return add, add
}

// Began notes the code of an answer as it begins.
func (r *Record) Began(code int) {
	if !r.at(auditinternal.LevelMetadata) {
		return
	}
	r.began.Do(func() {
		r.events.SetEventResponseStatusCode(int32(code))
		if r.long {
			r.events.ProcessEventStage(r.ctx, auditinternal.StageResponseStarted)
		}
	})
}

// Done notes the end of a request: that of a panic if p is not nil.
func (r *Record) Done(p any) {
	if !r.at(auditinternal.LevelMetadata) || r.refused {
		return
	}
	if p != nil {
		r.events.SetEventResponseStatus(&metav1.Status{
			Code: http.StatusInternalServerError, Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError,
			Message: fmt.Sprintf("APIServer panic'd: %v", p),
		})
		r.events.ProcessEventStage(r.ctx, auditinternal.StagePanic)
		return
	}
	if r.events.GetEventResponseStatus() == nil {
		r.events.SetEventResponseStatus(&metav1.Status{Code: http.StatusOK, Status: metav1.StatusSuccess, Message: "Connection closed early"})
		if r.long {
			r.events.ProcessEventStage(r.ctx, auditinternal.StageResponseStarted)
		}
	}
	r.events.ProcessEventStage(r.ctx, auditinternal.StageResponseComplete)
}

// Annotate adds a fact to the events of a request.
func Annotate(ctx context.Context, key, value string) {
	if add, _ := Annotators(ctx); add != nil {
		add(key, value)
	}
}
