package storage

import (
	"fmt"
	"slices"

	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// CSIStorageCapacity is the behaviour of storage.k8s.io/v1 CSIStorageCapacity.
func CSIStorageCapacity() strategy.Kind[*storagev1.CSIStorageCapacity] {
	return strategy.Kind[*storagev1.CSIStorageCapacity]{
		ValidateCreate: func(c *storagev1.CSIStorageCapacity) field.ErrorList { return validateCapacity(c, false) },
		ValidateUpdate: func(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
			errs := validateCapacity(c, len(check.Selector(nil, old.NodeTopology, false)) > 0)
			errs = append(errs, check.Unchanged(field.NewPath("nodeTopology"), c.NodeTopology, old.NodeTopology)...)
			return append(errs, check.Unchanged(field.NewPath("storageClassName"), c.StorageClassName, old.StorageClassName)...)
		},
		Warnings: func(c, _ *storagev1.CSIStorageCapacity) []string {
			return selectorWarnings(field.NewPath("nodeTopology"), c.NodeTopology)
		},
		Columns: strategy.DefaultColumns(),
		Cells:   func(c *storagev1.CSIStorageCapacity) []any { return strategy.DefaultCells(c) },
	}
}

func validateCapacity(c *storagev1.CSIStorageCapacity, lenient bool) field.ErrorList {
	errs := check.Selector(field.NewPath("nodeTopology"), c.NodeTopology, lenient)
	errs = append(errs, check.Name(field.NewPath("storageClassName"), c.StorageClassName, apivalidation.NameIsDNSSubdomain)...)
	if c.Capacity != nil {
		errs = append(errs, check.QuantityNotNegative(field.NewPath("capacity"), *c.Capacity)...)
	}
	return errs
}

func selectorWarnings(p *field.Path, selector *metav1.LabelSelector) []string {
	if selector == nil {
		return nil
	}
	var warnings []string
	for i, expression := range selector.MatchExpressions {
		if deprecated := core.DeprecatedLabel(expression.Key); deprecated != "" {
			warnings = append(warnings, fmt.Sprintf("%s: %s is %s", p.Child("matchExpressions").Index(i).Child("key"), expression.Key, deprecated))
		}
	}
	var labels []string
	for label := range selector.MatchLabels {
		if deprecated := core.DeprecatedLabel(label); deprecated != "" {
			labels = append(labels, fmt.Sprintf("%s: %s", p.Child("matchLabels").Child(label), deprecated))
		}
	}
	slices.Sort(labels)
	return append(warnings, labels...)
}
