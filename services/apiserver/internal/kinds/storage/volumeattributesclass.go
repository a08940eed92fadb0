package storage

import (
	"reflect"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// VolumeAttributesClass is the behaviour of storage.k8s.io/v1
// VolumeAttributesClass.
func VolumeAttributesClass() strategy.Kind[*storagev1.VolumeAttributesClass] {
	return strategy.Kind[*storagev1.VolumeAttributesClass]{
		ValidateCreate: validateAttributes,
		ValidateUpdate: func(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
			var errs field.ErrorList
			if c.DriverName != old.DriverName {
				errs = append(errs, field.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden."))
			}
			if !reflect.DeepEqual(c.Parameters, old.Parameters) {
				errs = append(errs, field.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden."))
			}
			return append(errs, validateAttributes(c)...)
		},
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("DriverName", storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"]),
			cells.Age(),
		),
		Cells: func(c *storagev1.VolumeAttributesClass) []any { return []any{c.Name, c.DriverName, cells.AgeOf(c)} },
	}
}

func validateAttributes(c *storagev1.VolumeAttributesClass) field.ErrorList {
	var errs field.ErrorList
	if c.DriverName == "" {
		errs = append(errs, field.Required(field.NewPath("driverName"), ""))
	}
	errs = append(errs, validateProvisioner(field.NewPath("driverName"), c.DriverName)...)
	errs = append(errs, validateParameters(field.NewPath("parameters"), c.Parameters)...)
	if len(c.Parameters) == 0 {
		errs = append(errs, field.Required(field.NewPath("parameters"), "must contain at least one key/value pair"))
	}
	return errs
}
