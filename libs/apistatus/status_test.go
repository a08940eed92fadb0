package apistatus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/apistatus"
)

func TestEveryReasonCrossesUnchanged(t *testing.T) {
	for _, reason := range []metav1.StatusReason{
		metav1.StatusReasonUnknown, metav1.StatusReasonUnauthorized, metav1.StatusReasonForbidden, metav1.StatusReasonNotFound,
		metav1.StatusReasonAlreadyExists, metav1.StatusReasonConflict, metav1.StatusReasonGone, metav1.StatusReasonInvalid,
		metav1.StatusReasonServerTimeout, metav1.StatusReasonStoreReadError, metav1.StatusReasonTimeout, metav1.StatusReasonTooManyRequests,
		metav1.StatusReasonBadRequest, metav1.StatusReasonMethodNotAllowed, metav1.StatusReasonNotAcceptable,
		metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnsupportedMediaType, metav1.StatusReasonInternalError,
		metav1.StatusReasonExpired, metav1.StatusReasonServiceUnavailable,
	} {
		in := metav1.Status{
			Status: metav1.StatusFailure, Code: 418, Reason: reason, Message: "m",
			Details: &metav1.StatusDetails{Name: "n", Kind: "pods", Causes: []metav1.StatusCause{{Type: metav1.CauseTypeFieldValueInvalid, Field: "spec", Message: "x"}}, RetryAfterSeconds: 3},
		}
		sent := apistatus.ToGRPC(fmt.Errorf("create pod: %w", &apierrors.StatusError{ErrStatus: in}))
		if code := grpcstatus.Code(sent); code == codes.OK {
			t.Errorf("%s is sent as OK", reason)
		}
		var got *apierrors.StatusError
		if !errors.As(apistatus.FromGRPC(sent), &got) {
			t.Fatalf("%s is not restored", reason)
		}
		if !equality.Semantic.DeepEqual(got.ErrStatus, in) {
			t.Errorf("%s: got %+v", reason, got.ErrStatus)
		}
	}
}

func TestErrorsWithoutStatus(t *testing.T) {
	if err := apistatus.FromGRPC(apistatus.ToGRPC(errors.New("boom"))); !apierrors.IsInternalError(err) {
		t.Errorf("an ordinary error becomes %v", err)
	}
	if err := apistatus.FromGRPC(apistatus.ToGRPC(context.Canceled)); apierrors.ReasonForError(err) == metav1.StatusReasonInternalError {
		t.Errorf("a cancelled request becomes %v", err)
	}
	if err := apistatus.FromGRPC(grpcstatus.Error(codes.Unavailable, "gone")); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a lost connection becomes %v", err)
	}
	if apistatus.ToGRPC(nil) != nil || apistatus.FromGRPC(nil) != nil {
		t.Error("nil does not stay nil")
	}
}
