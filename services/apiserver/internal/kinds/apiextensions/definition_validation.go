package apiextensions

import (
	"context"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The judgement of schemas, of CEL rules and of their estimated costs is
// upstream's own package: what a definition may say is whatever upstream lets
// it say, and every number in it counts.

func validateCreate(d definition) field.ErrorList {
	in, err := internal(d)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return exceptMissingName(d, validation.ValidateCustomResourceDefinition(context.Background(), in))
}

func validateUpdate(d, old definition) field.ErrorList {
	in, before, err := both(d, old)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return validation.ValidateCustomResourceDefinitionUpdate(context.Background(), in, before)
}

func validateStatus(d, old definition) field.ErrorList {
	in, before, err := both(d, old)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return validation.ValidateUpdateCustomResourceDefinitionStatus(context.Background(), in, before)
}

func both(d, old definition) (in, before *apiextensions.CustomResourceDefinition, err error) {
	if in, err = internal(d); err != nil {
		return nil, nil, err
	}
	if before, err = internal(old); err != nil {
		return nil, nil, err
	}
	// Of an update upstream checks the metadata twice, and says so twice.
	in.ObjectMeta, before.ObjectMeta = d.ObjectMeta, old.ObjectMeta
	return in, before, nil
}

// internal is a definition in the form that upstream validates, which names
// some fields otherwise: its error messages show that. Of the metadata there
// is only what the rules for definitions look at; the rest is checked with
// that of all kinds.
func internal(d definition) (*apiextensions.CustomResourceDefinition, error) {
	out := &apiextensions.CustomResourceDefinition{}
	// The conversion moves what all versions have in common; d stays as it is.
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(d.DeepCopy(), out, nil); err != nil {
		return nil, fmt.Errorf("convert definition %s: %w", d.Name, err)
	}
	out.ObjectMeta = metav1.ObjectMeta{Name: d.Name, GenerateName: d.GenerateName}
	if approved, ok := d.Annotations[apiextensionsv1.KubeAPIApprovedAnnotation]; ok {
		out.Annotations = map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: approved}
	}
	return out, nil
}

// exceptMissingName leaves out what has been said of metadata: that there is
// no name.
func exceptMissingName(d definition, errs field.ErrorList) field.ErrorList {
	if d.Name != "" {
		return errs
	}
	return errs.Filter(func(err error) bool {
		found, ok := err.(*field.Error) //nolint:errorlint // entries of the list are not wrapped
		return ok && found.Field == "metadata.name"
	})
}
