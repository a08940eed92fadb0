package storage

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

const (
	maxParameters     = 512
	maxParametersSize = 256 << 10

	defaultClass     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultClass = "storageclass.beta.kubernetes.io/is-default-class"
)

// Class is the behaviour of storage.k8s.io/v1 StorageClass.
func Class() strategy.Kind[*storagev1.StorageClass] {
	doc := storagev1.StorageClass{}.SwaggerDoc()
	return strategy.Kind[*storagev1.StorageClass]{
		Default: func(c *storagev1.StorageClass) {
			if c.ReclaimPolicy == nil {
				c.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimDelete)
			}
			if c.VolumeBindingMode == nil {
				c.VolumeBindingMode = ptr.To(storagev1.VolumeBindingImmediate)
			}
		},
		ValidateCreate: func(c *storagev1.StorageClass) field.ErrorList {
			return append(validateClass(c), check.Set(nil, "provisioner", c.Provisioner)...)
		},
		ValidateUpdate: func(c, old *storagev1.StorageClass) field.ErrorList {
			errs := validateClass(c)
			if c.Provisioner == "" && old.Provisioner != "" {
				errs = append(errs, field.Required(field.NewPath("provisioner"), ""))
			}
			errs = append(errs, check.Fixed(field.NewPath("provisioner"), c.Provisioner, old.Provisioner)...)
			errs = append(errs, check.Fixed(field.NewPath("parameters"), c.Parameters, old.Parameters)...)
			errs = append(errs, check.Fixed(field.NewPath("reclaimPolicy"), c.ReclaimPolicy, old.ReclaimPolicy)...)
			return append(errs, check.Fixed(field.NewPath("volumeBindingMode"), c.VolumeBindingMode, old.VolumeBindingMode)...)
		},
		Warnings:                 classWarnings,
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Provisioner", doc["provisioner"]),
			cells.Text("ReclaimPolicy", doc["reclaimPolicy"]),
			cells.Text("VolumeBindingMode", doc["volumeBindingMode"]),
			cells.Text("AllowVolumeExpansion", doc["allowVolumeExpansion"]),
			cells.Age(),
		),
		Cells: func(c *storagev1.StorageClass) []any {
			name := c.Name
			if c.Annotations[defaultClass] == "true" || c.Annotations[betaDefaultClass] == "true" {
				name += " (default)"
			}
			return []any{
				name, c.Provisioner, cells.Ptr(c.ReclaimPolicy, string(corev1.PersistentVolumeReclaimDelete)),
				cells.Ptr(c.VolumeBindingMode, string(storagev1.VolumeBindingImmediate)), ptr.Deref(c.AllowVolumeExpansion, false), cells.AgeOf(c),
			}
		},
	}
}

func classWarnings(c, _ *storagev1.StorageClass) []string {
	var warnings []string
	for i := range c.AllowedTopologies {
		for k, expression := range c.AllowedTopologies[i].MatchLabelExpressions {
			if deprecated := core.DeprecatedLabel(expression.Key); deprecated != "" {
				at := field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(k).Child("key")
				warnings = append(warnings, fmt.Sprintf("%s: %s", at, deprecated))
			}
		}
	}
	return warnings
}

func validateClass(c *storagev1.StorageClass) field.ErrorList {
	errs := validateProvisioner(field.NewPath("provisioner"), c.Provisioner)
	errs = append(errs, validateParameters(field.NewPath("parameters"), c.Parameters)...)
	if policy := ptr.Deref(c.ReclaimPolicy, ""); policy != "" {
		errs = append(errs, check.OneOf(field.NewPath("reclaimPolicy"), policy, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	}
	if c.VolumeBindingMode == nil {
		errs = append(errs, field.Required(field.NewPath("volumeBindingMode"), ""))
	} else {
		errs = append(errs, check.OneOf(field.NewPath("volumeBindingMode"), *c.VolumeBindingMode,
			storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	}
	return append(errs, validateTopologies(field.NewPath("allowedTopologies"), c.AllowedTopologies)...)
}

func validateProvisioner(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return nil
	}
	return check.QualifiedName(p, strings.ToLower(name))
}

func validateParameters(p *field.Path, parameters map[string]string) field.ErrorList {
	if len(parameters) > maxParameters {
		return field.ErrorList{field.TooLong(p, "", maxParameters)}
	}
	var errs field.ErrorList
	size := 0
	for key, value := range parameters {
		if key == "" {
			errs = append(errs, field.Invalid(p, key, "field can not be empty."))
		}
		size += len(key) + len(value)
	}
	if size > maxParametersSize {
		errs = append(errs, field.TooLong(p, "", maxParametersSize))
	}
	return errs
}

func validateTopologies(p *field.Path, terms []corev1.TopologySelectorTerm) field.ErrorList {
	var errs field.ErrorList
	var seen []map[string]sets.Set[string]
	for i := range terms {
		at := p.Index(i).Child("matchLabelExpressions")
		term := map[string]sets.Set[string]{}
		for k, expression := range terms[i].MatchLabelExpressions {
			errs = append(errs, validateTopology(at.Index(k), expression)...)
			if _, twice := term[expression.Key]; twice {
				errs = append(errs, field.Duplicate(at.Index(k).Child("key"), expression.Key))
			}
			term[expression.Key] = sets.New(expression.Values...)
		}
		// Upstream takes a term without expressions for a repeated one.
		if len(term) == 0 {
			errs = append(errs, field.Duplicate(at, ""))
		}
		for _, other := range seen {
			if len(term) > 0 && equality.Semantic.DeepEqual(term, other) {
				errs = append(errs, field.Duplicate(at, ""))
			}
		}
		seen = append(seen, term)
	}
	return errs
}

func validateTopology(p *field.Path, expression corev1.TopologySelectorLabelRequirement) field.ErrorList {
	var errs field.ErrorList
	if len(expression.Values) == 0 {
		errs = append(errs, field.Required(p.Child("values"), ""))
	}
	seen := map[string]bool{}
	for i, value := range expression.Values {
		if seen[value] {
			errs = append(errs, field.Duplicate(p.Child("values").Index(i), value))
		}
		seen[value] = true
	}
	return append(errs, metavalidation.ValidateLabelName(expression.Key, p.Child("key"))...)
}
