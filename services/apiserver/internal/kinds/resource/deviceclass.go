// Package resource holds the behaviour of the kinds of the resource.k8s.io
// API group.
package resource

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/declared"
	"coracle.local/services/apiserver/internal/strategy"
)

// DeviceClass is the behaviour of resource.k8s.io/v1 DeviceClass.
func DeviceClass() strategy.Kind[*resourcev1.DeviceClass] {
	k := strategy.Outline[*resourcev1.DeviceClass]()
	k.MetadataLast = true
	k.ValidateCreate = func(c *resourcev1.DeviceClass) field.ErrorList {
		return append(check.LongName(c, false), validateDeviceClass(c, nil)...)
	}
	k.ValidateUpdate = validateDeviceClass
	k.Columns = cells.Columns(cells.Name(), cells.Age())
	k.Cells = func(c *resourcev1.DeviceClass) []any { return []any{c.Name, cells.AgeOf(c)} }
	return k
}

// validateDeviceClass checks a class; old is nil on create. Selectors and
// configurations that stay as they were are not compiled again.
func validateDeviceClass(c, old *resourcev1.DeviceClass) field.ErrorList {
	spec := &c.Spec
	same := func(now, before any) bool { return old != nil && equality.Semantic.DeepEqual(now, before) }
	var before resourcev1.DeviceClassSpec
	if old != nil {
		before = old.Spec
	}
	errs := validateSelectors(specPath.Child("selectors"), spec.Selectors, same(spec.Selectors, before.Selectors))
	stored := same(spec.Config, before.Config)
	errs = append(errs, each(specPath.Child("config"), spec.Config, resourcev1.DeviceConfigMaxSize, true,
		func(path *field.Path, c *resourcev1.DeviceClassConfiguration) field.ErrorList {
			return validateConfiguration(path, &c.DeviceConfiguration, stored)
		})...)
	if name := spec.ExtendedResourceName; name != nil && !extended(*name) {
		errs = append(errs, field.Invalid(specPath.Child("extendedResourceName"), *name, "must be a valid extended resource name").
			WithOrigin("format=k8s-extended-resource-name").MarkCoveredByDeclarative())
	}
	if old == nil {
		return check.WithDeclared(errs, declared.Create(specPath, spec))
	}
	return check.WithDeclared(errs, declared.Update(specPath, spec, &old.Spec))
}

func extended(name string) bool {
	return strings.Contains(name, "/") && !strings.Contains(name, corev1.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+name)) == 0
}
