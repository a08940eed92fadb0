package webhook

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// CallError says that a webhook could not be asked, or gave no answer that
// means anything. A webhook that says no is none.
type CallError struct {
	// Webhook is its name.
	Webhook string
	Reason  error
	// Status is what it comes to for metrics.
	Status *apierrors.StatusError
}

func (e *CallError) Error() string {
	if e.Reason == nil {
		return fmt.Sprintf("failed calling webhook %q; no further details available", e.Webhook)
	}
	return fmt.Sprintf("failed calling webhook %q: %v", e.Webhook, e.Reason)
}

// Unwrap returns the reason.
func (e *CallError) Unwrap() error { return e.Reason }
