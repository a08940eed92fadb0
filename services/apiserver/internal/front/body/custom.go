package body

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/front/negotiate"
)

// read decodes an object that reads its JSON itself: a custom resource. It must
// say of what kind it is; that this is the wrong one, upstream's validation
// says, not its decoder.
func (d *decoding) read(data, original []byte, e negotiate.Encoding) error {
	said, err := kindOf(data)
	if err != nil {
		return err
	}
	if said.Kind == "" {
		return runtime.NewMissingKindErr(string(data))
	}
	d.have = said
	if d.strict {
		d.duplicates(original, e)
	}
	wrong, err := d.want.Read(data, d.strict)
	d.wrong = append(d.wrong, wrong...)
	return err
}

// CheckCustom refuses a custom resource that says that it is something else
// than what the path is about.
func CheckCustom(want, have schema.GroupVersionKind, name string) error {
	if have.GroupVersion() != want.GroupVersion() {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)",
			have.GroupVersion(), want.GroupVersion()))
	}
	if have.Kind != want.Kind {
		return apierrors.NewInvalid(have.GroupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("kind"), have.Kind, "must be "+want.Kind),
		})
	}
	return nil
}
