package custom

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	structurallisttype "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	schemaobjectmeta "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	apiservervalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/warning"
)

// The functions of this file are called by a registry that gives no context.
// Rules are bounded by their cost, not by time.
func background() context.Context { return context.Background() }

func (v *version) validateCreate(o *Object) field.ErrorList {
	s, err := v.structural()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	whole, _, err := v.schemas()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	errs := v.validateType(o)
	if len(errs) == 0 {
		errs = append(errs, apiservervalidation.ValidateCustomResource(nil, o.Object, whole)...)
		errs = append(errs, v.validateScale(o)...)
	}
	errs = append(errs, schemaobjectmeta.Validate(background(), nil, o.Object, s, false)...)
	errs = append(errs, structurallisttype.ValidateListSetsAndMaps(nil, s, o.Object)...)
	return v.validateRules(errs, o, nil)
}

func (v *version) validateUpdate(o, old *Object) field.ErrorList {
	s, err := v.structural()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	whole, _, err := v.schemas()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	errs, old := v.validateType(o), v.typed(old)
	correlated := common.NewCorrelatedObject(o.Object, old.Object, &model.Structural{Structural: s})
	if len(errs) == 0 {
		errs = append(errs, validateMeta(o, old)...)
		errs = append(errs, apiservervalidation.ValidateCustomResourceUpdate(nil, o.Object, old.Object, whole, apiservervalidation.WithRatcheting(correlated))...)
		errs = append(errs, v.validateScale(o)...)
	}
	errs = append(errs, schemaobjectmeta.Validate(background(), nil, o.Object, s, false)...)
	// Lists that were wrong already may stay so.
	if len(structurallisttype.ValidateListSetsAndMaps(nil, s, old.Object)) == 0 {
		errs = append(errs, structurallisttype.ValidateListSetsAndMaps(nil, s, o.Object)...)
	}
	return v.validateRules(errs, o, old, cel.WithRatcheting(correlated))
}

func (v *version) validateStatus(o, old *Object) field.ErrorList {
	s, err := v.structural()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	_, status, err := v.schemas()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	errs, old := v.validateType(o), v.typed(old)
	correlated := common.NewCorrelatedObject(o.Object, old.Object, &model.Structural{Structural: s})
	if len(errs) == 0 {
		errs = append(errs, validateMeta(o, old)...)
		if value, ok := o.Object["status"]; ok {
			errs = append(errs, apiservervalidation.ValidateCustomResourceUpdate(field.NewPath("status"), value, old.Object["status"], status,
				apiservervalidation.WithRatcheting(correlated.Key("status")))...)
		}
		errs = append(errs, v.validateScaleStatus(o)...)
	}
	if wrong := structurallisttype.ValidateListSetsAndMaps(nil, s, o.Object); len(wrong) > 0 {
		if len(structurallisttype.ValidateListSetsAndMaps(nil, s, old.Object)) == 0 {
			errs = append(errs, wrong...)
		}
	}
	return v.validateRules(errs, o, old, cel.WithRatcheting(correlated))
}

// validateMeta checks the metadata of an update once more: upstream does, and
// its clients are told twice.
func validateMeta(o, old *Object) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessorUpdate(o, old, field.NewPath("metadata"))
}

// validateType holds an object to what it says it is; an object that says
// nothing becomes one of the version, for schemas and rules may speak of it.
func (v *version) validateType(o *Object) field.ErrorList {
	if o.GetKind() == "" && o.GetAPIVersion() == "" {
		o.SetGroupVersionKind(v.kind.GroupVersionKind())
		return nil
	}
	var errs field.ErrorList
	if o.GetKind() != v.kind.Kind {
		errs = append(errs, field.Invalid(field.NewPath("kind"), o.GetKind(), "must be "+v.kind.Kind))
	}
	if o.GetAPIVersion() != v.kind.APIVersion() {
		errs = append(errs, field.Invalid(field.NewPath("apiVersion"), o.GetAPIVersion(), "must be "+v.kind.APIVersion()))
	}
	return errs
}

// typed is an object that says what it is, as rules about both versions of an
// object may ask; o stays as it is.
func (v *version) typed(o *Object) *Object {
	if o.GetKind() != "" {
		return o
	}
	out := &Object{Unstructured: unstructured.Unstructured{Object: maps.Clone(o.Object)}}
	out.SetGroupVersionKind(v.kind.GroupVersionKind())
	return out
}

// validateRules adds what the schema's CEL rules find, unless the object is
// broken in a way that the rules may not survive.
func (v *version) validateRules(errs field.ErrorList, o, old *Object, options ...cel.Option) field.ErrorList {
	o.warned = nil
	rules := v.rules()
	if rules == nil {
		return errs
	}
	if slices.ContainsFunc(errs, blocks) {
		return append(errs, field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
	}
	s, err := v.structural()
	if err != nil {
		return errs
	}
	var before any
	if old != nil {
		before = old.Object
	}
	w := &warner{o}
	found, _ := rules.Validate(warning.WithWarningRecorder(background(), w), nil, s, o.Object, before, celconfig.RuntimeCELCostBudget, options...)
	return append(errs, found...)
}

// warner keeps with an object what rules say about its parts that were wrong
// before and may stay so.
type warner struct{ o *Object }

// AddWarning implements warning.Recorder.
func (w *warner) AddWarning(_, text string) { w.o.warned = append(w.o.warned, text) }

func blocks(err *field.Error) bool {
	switch err.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}

var standardFinalizers = []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents, string(corev1.FinalizerKubernetes)}

// warned is what rules say about an object that they let pass.
func warned(o, _ *Object) []string { return o.warned }

// warnings are those and about finalizers that were added under a doubtful
// name.
func warnings(o, old *Object) []string {
	names := slices.Clone(o.GetFinalizers())
	slices.Sort(names)
	out := slices.Clone(o.warned)
	for _, name := range slices.Compact(names) {
		if old == nil || !slices.Contains(old.GetFinalizers(), name) {
			out = append(out, finalizerWarnings(name)...)
		}
	}
	return out
}

func finalizerWarnings(name string) []string {
	const at, advice = "metadata.finalizers", "to avoid accidental conflicts with other finalizer writers"
	var out []string
	for _, wrong := range validation.IsQualifiedName(name) {
		out = append(out, fmt.Sprintf("%s: %q: %s", at, name, wrong))
	}
	switch {
	case strings.Contains(name, "/"), slices.Contains(standardFinalizers, name):
	case strings.Contains(name, "."):
		out = append(out, fmt.Sprintf("%s: %q: prefer a domain-qualified finalizer name including a path (/) %s", at, name, advice))
	default:
		out = append(out, fmt.Sprintf("%s: %q: prefer a domain-qualified finalizer name %s", at, name, advice))
	}
	return out
}
