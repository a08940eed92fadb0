package admission

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"coracle.local/services/apiserver/internal/auth/recent"
)

const (
	// recentlyDeleted is how long a deleted namespace is looked up where it is
	// stored, lest the cache still show it as active.
	recentlyDeleted    = 30 * time.Second
	rememberNamespaces = 100
)

// namespaceLifecycle keeps content out of namespaces that do not exist or are
// on their way out, and keeps the system's own namespaces.
type namespaceLifecycle struct {
	lookup  lookup
	clock   clock.PassiveClock
	deleted *recent.Cache[string, struct{}]
}

func newNamespaceLifecycle(c Config) *namespaceLifecycle {
	return &namespaceLifecycle{c.lookup(), c.Clock, recent.New[string, struct{}](rememberNamespaces)}
}

func (p *namespaceLifecycle) Admit(ctx context.Context, a *Attributes) error {
	if a.on("", "namespaces") {
		return p.admitNamespace(a)
	}
	// An access review answers nothing about the namespace, lest somebody
	// find out which there are.
	if a.Namespace == "" || a.Operation != Create || a.on("authorization.k8s.io", "localsubjectaccessreviews") {
		return nil
	}
	namespace, err := find[*corev1.Namespace](ctx, p.lookup, "", a.Namespace)
	if err == nil && namespace.Status.Phase == corev1.NamespaceActive {
		if _, doubtful := p.deleted.Get(a.Namespace, p.clock.Now()); doubtful && p.lookup.live != nil {
			namespace, err = findLive[*corev1.Namespace](ctx, p.lookup, "", a.Namespace)
		}
	}
	switch {
	case apierrors.IsNotFound(err):
		return err
	case err != nil:
		return apierrors.NewInternalError(err)
	case namespace.Status.Phase != corev1.NamespaceTerminating:
		return nil
	}
	refusal := forbidden(a, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", a.Namespace))
	var status *apierrors.StatusError
	if errors.As(refusal, &status) {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{
			Type:    corev1.NamespaceTerminatingCause,
			Message: fmt.Sprintf("namespace %s is being terminated", a.Namespace),
			Field:   "metadata.namespace",
		})
	}
	return refusal
}

func (p *namespaceLifecycle) Validate(ctx context.Context, a *Attributes) error {
	if !a.request() {
		return nil
	}
	return p.Admit(ctx, a)
}

func (p *namespaceLifecycle) admitNamespace(a *Attributes) error {
	if a.Operation != Delete {
		return nil
	}
	switch a.Name {
	case metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic:
		return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, errors.New("this namespace may not be deleted"))
	}
	p.deleted.Put(a.Name, struct{}{}, p.clock.Now().Add(recentlyDeleted))
	return nil
}
