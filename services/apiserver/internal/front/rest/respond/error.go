package respond

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/front/negotiate"
)

// statusKind is that of errors, whatever they are about.
var statusKind = schema.GroupVersionKind{Version: "v1", Kind: "Status"}

// Error answers with an error, and returns its HTTP code.
func (p *Responder) Error(w http.ResponseWriter, r *http.Request, err error) int {
	status := Status(err)
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	return p.Status(w, r, status)
}

// Status answers with a status. To a client whose wishes cannot be met it comes
// as indented JSON: it must hear why.
func (p *Responder) Status(w http.ResponseWriter, r *http.Request, status *metav1.Status) int {
	audit.Status(r.Context(), status)
	code := int(status.Code)
	o, err := negotiate.Accept(r, negotiate.Plain)
	if err == nil {
		err = p.Object(w, r, o, code, statusKind, status)
	}
	if err != nil {
		status.TypeMeta = metav1.TypeMeta{Kind: statusKind.Kind, APIVersion: statusKind.Version}
		content, err := json.MarshalIndent(status, "", "  ")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return http.StatusInternalServerError
		}
		p.Content(w, r, negotiate.JSON.MediaType(), code, content)
	}
	return code
}

// Status is what an error tells the client: its own status if it has one.
func Status(err error) *metav1.Status {
	var own apierrors.APIStatus
	switch {
	case errors.As(err, &own):
		status := own.Status()
		if status.Status == "" {
			status.Status = metav1.StatusFailure
		}
		if status.Code == 0 {
			status.Code = http.StatusInternalServerError
		}
		return &status
	case errors.Is(err, context.DeadlineExceeded):
		status := apierrors.NewTimeoutError("request did not complete within requested timeout - "+context.DeadlineExceeded.Error(), 0).Status()
		return &status
	}
	return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}
}

// NotFound is the error for a path that nothing is served at.
func NotFound() error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false)
}

// MethodNotAllowed is the error for a method that the path does not have.
func MethodNotAllowed() error {
	return apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false)
}
