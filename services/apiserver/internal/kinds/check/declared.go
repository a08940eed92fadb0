package check

import (
	"context"

	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// WithDeclared joins what upstream's own code and what its declared rules find. Of
// the former's errors that are marked as covered those go that the latter say too.
func WithDeclared(written, declared field.ErrorList) field.ErrorList {
	declared = declared.MarkBeta()
	return append(validate.FilterCoveredHandwrittenErrors(context.Background(), written, declared, true), declared...)
}

// LongName checks the metadata of a kind whose name upstream checks by a declared
// rule: of a generated name it judges the whole and not the beginning.
func LongName(obj metav1.Object, namespaced bool) field.ErrorList {
	rule := func(path *field.Path, name string) field.ErrorList {
		return validate.LongName(context.Background(), operation.Operation{}, path, &name, nil)
	}
	errs := apivalidation.ValidateObjectMetaAccessorWithOpts(obj, namespaced, rule, field.NewPath("metadata"))
	return append(errs, Finalizers(obj)...)
}
