package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// ClaimTemplate is the behaviour of resource.k8s.io/v1
// ResourceClaimTemplate.
func ClaimTemplate() strategy.Kind[*resourcev1.ResourceClaimTemplate] {
	return strategy.Kind[*resourcev1.ResourceClaimTemplate]{
		Default: func(t *resourcev1.ResourceClaimTemplate) { defaultClaim(&t.Spec.Spec) },
		ValidateUpdate: func(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
			return check.Unchanged(specPath, t.Spec, old.Spec)
		},
		AllowUnconditionalUpdate: true,
		Columns:                  cells.Columns(cells.Name(), cells.Age()),
		Cells:                    func(t *resourcev1.ResourceClaimTemplate) []any { return []any{t.Name, cells.AgeOf(t)} },
	}
}
