package custom

import (
	"fmt"
	"math"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/strategy"
)

func (v *version) scaleSpec() *apiextensionsv1.CustomResourceSubresourceScale {
	if v.spec.Subresources == nil {
		return nil
	}
	return v.spec.Subresources.Scale
}

// scale is the scale subresource; nil if there is none. Numbers that are
// missing or are none show as 0, which validation does not let happen.
func (v *version) scale() *strategy.Scale[*Object] {
	s := v.scaleSpec()
	if s == nil {
		return nil
	}
	number := func(o *Object, path string) int32 {
		n, _, err := unstructured.NestedInt64(o.Object, split(path)...)
		if err != nil {
			return 0
		}
		return int32(n)
	}
	return &strategy.Scale[*Object]{
		Replicas:       func(o *Object) int32 { return number(o, s.SpecReplicasPath) },
		StatusReplicas: func(o *Object) int32 { return number(o, s.StatusReplicasPath) },
		SetReplicas: func(o *Object, replicas int32) {
			// It fails only where the path leads through something that is no
			// object, which validation reports.
			_ = unstructured.SetNestedField(o.Object, int64(replicas), split(s.SpecReplicasPath)...)
		},
		Selector: func(o *Object) (string, error) {
			if s.LabelSelectorPath == nil || *s.LabelSelectorPath == "" {
				return "", nil
			}
			selector, _, err := unstructured.NestedString(o.Object, split(*s.LabelSelectorPath)...)
			return selector, err
		},
		Path: split(s.SpecReplicasPath),
		Missing: func(o *Object) bool {
			_, found, err := unstructured.NestedInt64(o.Object, split(s.SpecReplicasPath)...)
			return err == nil && !found
		},
	}
}

// split is a simple JSON path in parts.
func split(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// validateScale checks what the scale subresource shows of an object.
func (v *version) validateScale(o *Object) field.ErrorList {
	s := v.scaleSpec()
	if s == nil {
		return nil
	}
	return append(validateReplicas(o, s.SpecReplicasPath), v.validateScaleStatus(o)...)
}

func (v *version) validateScaleStatus(o *Object) field.ErrorList {
	s := v.scaleSpec()
	if s == nil {
		return nil
	}
	errs := validateReplicas(o, s.StatusReplicasPath)
	if s.LabelSelectorPath != nil {
		selector, _, err := unstructured.NestedString(o.Object, split(*s.LabelSelectorPath)...)
		if err != nil {
			errs = append(errs, field.Invalid(field.NewPath(*s.LabelSelectorPath), selector, err.Error()))
		}
	}
	return errs
}

func validateReplicas(o *Object, path string) field.ErrorList {
	n, _, err := unstructured.NestedInt64(o.Object, split(path)...)
	at := field.NewPath(path)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(at, n, err.Error())}
	case n < 0:
		return field.ErrorList{field.Invalid(at, n, "should be a non-negative integer")}
	case n > math.MaxInt32:
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32))}
	}
	return nil
}
