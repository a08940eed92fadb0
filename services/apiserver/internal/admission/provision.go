package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// autoProvision makes the namespace of what is created, if it is missing.
type autoProvision struct {
	lookup lookup
	create func(ctx context.Context, name string) error
}

func (p *autoProvision) Admit(ctx context.Context, a *Attributes) error {
	if a.DryRun || a.Namespace == "" || a.Operation != Create || a.on("", "namespaces") || p.create == nil {
		return nil
	}
	_, err := cached[*corev1.Namespace](p.lookup, "", a.Namespace)
	if err == nil {
		return nil
	}
	if err := p.create(ctx, a.Namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		return forbidden(a, err)
	}
	return nil
}

// namespaceExists refuses all writes to namespaces that do not exist, and not
// creations alone as namespaceLifecycle does.
type namespaceExists struct{ lookup lookup }

func (p *namespaceExists) Validate(ctx context.Context, a *Attributes) error {
	if a.Namespace == "" || a.Operation == Connect || a.on("", "namespaces") {
		return nil
	}
	_, err := find[*corev1.Namespace](ctx, p.lookup, "", a.Namespace)
	if err != nil && !apierrors.IsNotFound(err) {
		return apierrors.NewInternalError(err)
	}
	return err
}
