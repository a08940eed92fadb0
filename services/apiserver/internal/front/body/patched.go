package body

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// CheckPatched refuses a custom resource that a patch has made something else,
// as upstream's validation does.
func CheckPatched(want, have schema.GroupVersionKind, name string) error {
	var errs field.ErrorList
	if have.Kind != want.Kind {
		errs = append(errs, field.Invalid(field.NewPath("kind"), have.Kind, "must be "+want.Kind))
	}
	if have, want := have.GroupVersion().String(), want.GroupVersion().String(); have != want {
		errs = append(errs, field.Invalid(field.NewPath("apiVersion"), have, "must be "+want))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(have.GroupKind(), name, errs)
}
