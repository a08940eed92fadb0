// Package apistatus carries the one error vocabulary, metav1.Status, across
// gRPC: apierrors.IsConflict and its siblings hold on both sides.
package apistatus

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const typeURL = "type.googleapis.com/k8s.io.apimachinery.pkg.apis.meta.v1.Status"

// byReason maps each reason to the gRPC code that says the most of it.
var byReason = map[metav1.StatusReason]codes.Code{
	metav1.StatusReasonUnauthorized:          codes.Unauthenticated,
	metav1.StatusReasonForbidden:             codes.PermissionDenied,
	metav1.StatusReasonNotFound:              codes.NotFound,
	metav1.StatusReasonAlreadyExists:         codes.AlreadyExists,
	metav1.StatusReasonConflict:              codes.Aborted,
	metav1.StatusReasonGone:                  codes.OutOfRange,
	metav1.StatusReasonExpired:               codes.OutOfRange,
	metav1.StatusReasonInvalid:               codes.InvalidArgument,
	metav1.StatusReasonBadRequest:            codes.InvalidArgument,
	metav1.StatusReasonServerTimeout:         codes.Unavailable,
	metav1.StatusReasonStoreReadError:        codes.Internal,
	metav1.StatusReasonTimeout:               codes.DeadlineExceeded,
	metav1.StatusReasonTooManyRequests:       codes.ResourceExhausted,
	metav1.StatusReasonMethodNotAllowed:      codes.Unimplemented,
	metav1.StatusReasonNotAcceptable:         codes.InvalidArgument,
	metav1.StatusReasonRequestEntityTooLarge: codes.ResourceExhausted,
	metav1.StatusReasonUnsupportedMediaType:  codes.InvalidArgument,
	metav1.StatusReasonInternalError:         codes.Internal,
	metav1.StatusReasonServiceUnavailable:    codes.Unavailable,
}

// Of returns the Status that describes an error: its own if it has one, else
// an internal error, as upstream answers.
func Of(err error) metav1.Status {
	var s apierrors.APIStatus
	switch {
	case errors.As(err, &s):
		out := s.Status()
		out.Status = metav1.StatusFailure
		return out
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0).Status()
	case errors.Is(err, context.Canceled):
		return metav1.Status{Status: metav1.StatusFailure, Code: 499, Reason: metav1.StatusReasonTimeout, Message: "the client ended the request"}
	}
	return apierrors.NewInternalError(err).Status()
}

// ToGRPC turns any error into one that gRPC sends with its Status as a detail.
// Errors that are gRPC's own already pass unchanged.
func ToGRPC(err error) error {
	if err == nil {
		return nil
	}
	var have apierrors.APIStatus
	if s, ok := grpcstatus.FromError(err); ok && !errors.As(err, &have) {
		return s.Err()
	}
	st := Of(err)
	code, ok := byReason[st.Reason]
	if !ok {
		code = codes.Unknown
	}
	if errors.Is(err, context.Canceled) {
		code = codes.Canceled
	}
	detail, merr := st.Marshal()
	if merr != nil {
		return grpcstatus.Error(codes.Internal, merr.Error())
	}
	return grpcstatus.FromProto(&status.Status{
		Code: int32(code), Message: st.Message,
		Details: []*anypb.Any{{TypeUrl: typeURL, Value: detail}},
	}).Err()
}

// FromGRPC restores the error that ToGRPC sent. An error without a Status is
// given the reason that fits its code, so that callers know one vocabulary.
func FromGRPC(err error) error {
	if err == nil {
		return nil
	}
	s, ok := grpcstatus.FromError(err)
	if !ok {
		return err
	}
	for _, d := range s.Proto().GetDetails() {
		var st metav1.Status
		if d.GetTypeUrl() == typeURL && st.Unmarshal(d.GetValue()) == nil {
			return &apierrors.StatusError{ErrStatus: st}
		}
	}
	switch s.Code() {
	case codes.Canceled:
		return fmt.Errorf("%w: %s", context.Canceled, s.Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: %s", context.DeadlineExceeded, s.Message())
	case codes.Unavailable:
		return apierrors.NewServiceUnavailable(s.Message())
	case codes.Unauthenticated:
		return apierrors.NewUnauthorized(s.Message())
	case codes.PermissionDenied:
		return failure(http.StatusForbidden, metav1.StatusReasonForbidden, s.Message())
	case codes.Unimplemented:
		return failure(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, s.Message())
	case codes.ResourceExhausted:
		return failure(http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge, s.Message())
	case codes.InvalidArgument:
		return apierrors.NewBadRequest(s.Message())
	case codes.NotFound:
		return failure(http.StatusNotFound, metav1.StatusReasonNotFound, s.Message())
	}
	return failure(http.StatusInternalServerError, metav1.StatusReasonInternalError, s.Code().String()+": "+s.Message())
}

func failure(code int32, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}}
}
