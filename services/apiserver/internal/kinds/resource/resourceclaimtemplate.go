package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/kinds/declared"
	"coracle.local/services/apiserver/internal/strategy"
)

// ClaimTemplate is the behaviour of resource.k8s.io/v1
// ResourceClaimTemplate.
func ClaimTemplate() strategy.Kind[*resourcev1.ResourceClaimTemplate] {
	return strategy.Kind[*resourcev1.ResourceClaimTemplate]{
		Default:       func(t *resourcev1.ResourceClaimTemplate) { defaultClaim(&t.Spec.Spec) },
		PrepareCreate: func(t *resourcev1.ResourceClaimTemplate) { dropSpec(&t.Spec.Spec) },
		PrepareUpdate: func(t, _ *resourcev1.ResourceClaimTemplate) { dropSpec(&t.Spec.Spec) },
		ValidateCreate: func(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
			return check.WithDeclared(validateTemplate(t), declared.Create(specPath.Child("spec"), &t.Spec.Spec))
		},
		ValidateUpdate: func(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
			errs := append(validateTemplate(t), check.Unchanged(specPath, t.Spec, old.Spec)...)
			return check.WithDeclared(errs, declared.Update(specPath.Child("spec"), &t.Spec.Spec, &old.Spec.Spec))
		},
		AllowUnconditionalUpdate: true,
		Columns:                  cells.Columns(cells.Name(), cells.Age()),
		Cells:                    func(t *resourcev1.ResourceClaimTemplate) []any { return []any{t.Name, cells.AgeOf(t)} },
	}
}

func validateTemplate(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
	errs := core.ValidateTemplateMeta(specPath.Child("metadata"), &t.Spec.ObjectMeta)
	return append(errs, validateClaimSpec(specPath.Child("spec"), &t.Spec.Spec)...)
}
