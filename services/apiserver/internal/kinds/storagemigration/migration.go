// Package storagemigration holds the behaviour of the kinds of the
// storagemigration.k8s.io API group.
package storagemigration

import (
	"strings"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

type migration = *storagemigrationv1.StorageVersionMigration

// StorageVersionMigration is the behaviour of storagemigration.k8s.io/v1
// StorageVersionMigration.
func StorageVersionMigration() strategy.Kind[migration] {
	return strategy.Kind[migration]{
		PrepareCreate:  func(m migration) { m.Status = storagemigrationv1.StorageVersionMigrationStatus{} },
		PrepareUpdate:  func(m, old migration) { m.Status = old.Status },
		ValidateCreate: validateMigration,
		ValidateUpdate: func(m, old migration) field.ErrorList {
			return append(validateMigration(m), check.Unchanged(field.NewPath("spec"), m.Spec, old.Spec)...)
		},
		Status: &strategy.Sub[migration]{
			PrepareUpdate: func(m, old migration) {
				m.Spec = old.Spec
				metav1.ResetObjectMetaForStatus(&m.ObjectMeta, &old.ObjectMeta)
			},
			ValidateUpdate: func(m, _ migration) field.ErrorList { return validateProgress(&m.Status) },
		},
		ResetFields: map[string][]string{"": {"status"}, "status": {"metadata", "spec"}},
		Columns: cells.Columns(
			cells.Text("Name", metav1.ObjectMeta{}.SwaggerDoc()["name"]),
			cells.Text("Resource", "GroupResource to migrate"),
			cells.Text("Status", "Status of the migration"),
		),
		Cells: func(m migration) []any {
			state := "Unknown"
			for _, c := range m.Status.Conditions {
				if c.Status != metav1.ConditionTrue {
					continue
				}
				switch storagemigrationv1.MigrationConditionType(c.Type) {
				case storagemigrationv1.MigrationRunning, storagemigrationv1.MigrationFailed, storagemigrationv1.MigrationSucceeded:
					state = c.Type
				}
			}
			return []any{m.Name, m.Spec.Resource.String(), state}
		},
	}
}

func validateProgress(status *storagemigrationv1.StorageVersionMigrationStatus) field.ErrorList {
	path := field.NewPath("status")
	var errs field.ErrorList
	if version := status.ResourceVersion; version != "" {
		if _, err := resourceversion.CompareResourceVersion(version, "1"); err != nil {
			errs = append(errs, field.Invalid(path.Child("resourceVersion"), version, err.Error()))
		}
	}
	return append(errs, metavalidation.ValidateConditions(status.Conditions, path.Child("conditions"))...)
}

func validateMigration(m migration) field.ErrorList {
	var errs field.ErrorList
	p, of := field.NewPath("spec", "resource"), m.Spec.Resource
	if of.Resource == "" {
		errs = append(errs, field.Required(p.Child("resource"), "resource is required to be set"))
	} else if wrong := validation.IsDNS1035Label(of.Resource); len(wrong) > 0 {
		errs = append(errs, field.Invalid(p.Child("resource"), of.Resource, strings.Join(wrong, ",")))
	}
	if wrong := validation.IsDNS1123Subdomain(of.Group); of.Group != "" && len(wrong) > 0 {
		errs = append(errs, field.Invalid(p.Child("group"), of.Group, strings.Join(wrong, ",")))
	}
	return errs
}
