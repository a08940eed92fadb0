package query

import (
	"fmt"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// read fills options of any kind and validates them.
func read[T any](values url.Values, kind string, convert func(*url.Values, *T) error, validate func(*T) field.ErrorList) (*T, error) {
	o := new(T)
	if len(values) > 0 {
		if err := convert(&values, o); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if errs := validate(o); len(errs) > 0 {
		return nil, invalid(kind, errs)
	}
	return o, nil
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: metav1.SchemeGroupVersion.String(), Kind: kind}
}

// ForCreate reads the options of a creation.
func ForCreate(values url.Values) (*metav1.CreateOptions, error) {
	o, err := read(values, "CreateOptions", func(v *url.Values, o *metav1.CreateOptions) error {
		return metav1.Convert_url_Values_To_v1_CreateOptions(v, o, nil)
	}, validation.ValidateCreateOptions)
	if err == nil {
		o.TypeMeta = typeMeta("CreateOptions")
	}
	return o, err
}

// ForUpdate reads the options of a replacement.
func ForUpdate(values url.Values) (*metav1.UpdateOptions, error) {
	o, err := read(values, "UpdateOptions", func(v *url.Values, o *metav1.UpdateOptions) error {
		return metav1.Convert_url_Values_To_v1_UpdateOptions(v, o, nil)
	}, validation.ValidateUpdateOptions)
	if err == nil {
		o.TypeMeta = typeMeta("UpdateOptions")
	}
	return o, err
}

// ForPatch reads the options of a patch of a type.
func ForPatch(values url.Values, t types.PatchType) (*metav1.PatchOptions, error) {
	o, err := read(values, "PatchOptions", func(v *url.Values, o *metav1.PatchOptions) error {
		return metav1.Convert_url_Values_To_v1_PatchOptions(v, o, nil)
	}, func(o *metav1.PatchOptions) field.ErrorList { return validation.ValidatePatchOptions(o, t) })
	if err == nil {
		o.TypeMeta = typeMeta("PatchOptions")
	}
	return o, err
}

// ForDelete reads the options of a deletion that has no body.
func ForDelete(values url.Values) (*metav1.DeleteOptions, error) {
	o := &metav1.DeleteOptions{}
	if len(values) > 0 {
		if err := metav1.Convert_url_Values_To_v1_DeleteOptions(&values, o, nil); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	return o, nil
}

// CheckDelete validates the options of a deletion, wherever they came from.
func CheckDelete(o *metav1.DeleteOptions) error {
	if errs := validation.ValidateDeleteOptions(o); len(errs) > 0 {
		return invalid("DeleteOptions", errs)
	}
	o.TypeMeta = typeMeta("DeleteOptions")
	return nil
}

// ForGet reads the resource version that a read asks for.
func ForGet(values url.Values) (resourceVersion string, err error) {
	if len(values) == 0 {
		return "", nil
	}
	if export := values["export"]; len(export) > 0 && boolean(export[0]) {
		return "", apierrors.NewBadRequest("the export parameter, deprecated since v1.14, is no longer supported")
	}
	return values.Get("resourceVersion"), nil
}

// ForTable reads which objects the rows of a table carry along.
func ForTable(values url.Values) (metav1.IncludeObjectPolicy, error) {
	o := &metav1.TableOptions{IncludeObject: metav1.IncludeObjectPolicy(values.Get("includeObject"))}
	if errs := validation.ValidateTableOptions(o); len(errs) > 0 {
		return "", apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", errs[0].Error()))
	}
	if o.IncludeObject == "" {
		o.IncludeObject = metav1.IncludeMetadata
	}
	return o.IncludeObject, nil
}
