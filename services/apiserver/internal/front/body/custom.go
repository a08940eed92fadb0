package body

import (
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"coracle.local/services/apiserver/internal/front/negotiate"
)

// read decodes an object that reads its JSON itself: a custom resource. It must
// say of what kind it is; that this is the wrong one, upstream's validation
// says, not its decoder.
func (d *decoding) read(data, original []byte, e negotiate.Encoding) error {
	var meta struct {
		APIVersion string `json:"apiVersion,omitempty"`
		Kind       string `json:"kind,omitempty"`
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return fmt.Errorf("couldn't get version/kind; json parse error: %w", renamed(err))
	}
	gv, err := schema.ParseGroupVersion(meta.APIVersion)
	if err != nil {
		return err
	}
	if meta.Kind == "" {
		return runtime.NewMissingKindErr(string(data))
	}
	d.have = gv.WithKind(meta.Kind)
	if d.strict && e == negotiate.YAML {
		if _, err := yaml.YAMLToJSONStrict(original); err != nil {
			d.wrong = append(d.wrong, err)
		}
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
