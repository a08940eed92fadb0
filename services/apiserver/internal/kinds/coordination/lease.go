// Package coordination holds the behaviour of the kinds of the
// coordination.k8s.io API group.
package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// Lease is the behaviour of coordination.k8s.io/v1 Lease.
func Lease() strategy.Kind[*coordinationv1.Lease] {
	return strategy.Kind[*coordinationv1.Lease]{
		PrepareCreate:       dropCoordination,
		PrepareUpdate:       func(l, _ *coordinationv1.Lease) { dropCoordination(l) },
		ValidateCreate:      validateLease,
		ValidateUpdate:      func(l, _ *coordinationv1.Lease) field.ErrorList { return validateLease(l) },
		AllowCreateOnUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Holder", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"]),
			cells.Age(),
		),
		Cells: func(l *coordinationv1.Lease) []any {
			return []any{l.Name, cells.Ptr(l.Spec.HolderIdentity, ""), cells.AgeOf(l)}
		},
	}
}

// dropCoordination drops the fields of coordinated leader election, which is
// off by default.
func dropCoordination(l *coordinationv1.Lease) {
	l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil
}

func validateLease(l *coordinationv1.Lease) field.ErrorList {
	var errs field.ErrorList
	p := field.NewPath("spec")
	if seconds := l.Spec.LeaseDurationSeconds; seconds != nil && *seconds <= 0 {
		errs = append(errs, field.Invalid(p.Child("leaseDurationSeconds"), *seconds, "must be greater than 0"))
	}
	if transitions := l.Spec.LeaseTransitions; transitions != nil && *transitions < 0 {
		errs = append(errs, field.Invalid(p.Child("leaseTransitions"), *transitions, "must be greater than or equal to 0"))
	}
	return errs
}
