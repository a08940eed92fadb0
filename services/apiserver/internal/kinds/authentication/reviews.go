// Package authentication holds the behaviour of the kinds of the
// authentication.k8s.io API group. Its objects are questions, which are
// answered and never stored.
package authentication

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// TokenReview is the behaviour of authentication.k8s.io/v1 TokenReview.
func TokenReview() strategy.Kind[*authenticationv1.TokenReview] {
	return strategy.Kind[*authenticationv1.TokenReview]{
		PrepareCreate: func(r *authenticationv1.TokenReview) { r.Status = authenticationv1.TokenReviewStatus{} },
		ValidateCreate: func(r *authenticationv1.TokenReview) field.ErrorList {
			if r.Spec.Token == "" {
				return field.ErrorList{field.Required(field.NewPath("spec", "token"), "token is required for TokenReview in authentication")}
			}
			return nil
		},
		Columns: strategy.DefaultColumns(),
		Cells:   func(r *authenticationv1.TokenReview) []any { return strategy.DefaultCells(r) },
	}
}

// SelfSubjectReview is the behaviour of authentication.k8s.io/v1
// SelfSubjectReview.
func SelfSubjectReview() strategy.Kind[*authenticationv1.SelfSubjectReview] {
	return strategy.Kind[*authenticationv1.SelfSubjectReview]{
		PrepareCreate: func(r *authenticationv1.SelfSubjectReview) { r.Status = authenticationv1.SelfSubjectReviewStatus{} },
		Columns:       cells.Columns(cells.Name(), cells.Age()),
		Cells:         func(r *authenticationv1.SelfSubjectReview) []any { return []any{r.Name, cells.AgeOf(r)} },
	}
}
