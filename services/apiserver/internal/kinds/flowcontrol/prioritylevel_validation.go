package flowcontrol

import (
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	flowcontrolv1beta3 "k8s.io/api/flowcontrol/v1beta3"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/util/shufflesharding"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// mostQueues is how many queues a level may have.
const mostQueues = 10_000_000

func validateLevel(l, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var errs field.ErrorList
	if _, ok := l.Annotations[flowcontrolv1beta3.PriorityLevelPreserveZeroConcurrencySharesKey]; ok {
		errs = append(errs, field.Forbidden(field.NewPath("metadata", "annotations"),
			fmt.Sprintf("annotation '%s' is forbidden", flowcontrolv1beta3.PriorityLevelPreserveZeroConcurrencySharesKey)))
	}
	errs = append(errs, validateLevelSpec(&l.Spec, l.Name)...)
	errs = append(errs, validateFixedLevel(l)...)
	errs = append(errs, validateLevelStatus(&l.Status)...)
	if old != nil {
		return append(errs, declaredLevel(&l.Spec, &old.Spec)...)
	}
	return append(errs, declaredLevel(&l.Spec, nil)...)
}

// validateLevelSpec leaves out what declaredLevel says.
func validateLevelSpec(spec *flowcontrolv1.PriorityLevelConfigurationSpec, name string) field.ErrorList {
	var errs field.ErrorList
	exempt := spec.Type == flowcontrolv1.PriorityLevelEnablementExempt
	if (name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != exempt {
		errs = append(errs, field.Invalid(specPath.Child("type"), spec.Type, "must be 'Exempt' if and only if `name` is 'exempt'"))
	}
	switch {
	case exempt && spec.Exempt != nil:
		path := specPath.Child("exempt")
		errs = append(errs, validateShares(path, spec.Exempt.NominalConcurrencyShares)...)
		errs = append(errs, validateLendable(path, spec.Exempt.LendablePercent)...)
	case spec.Type == flowcontrolv1.PriorityLevelEnablementLimited && spec.Limited != nil:
		errs = append(errs, validateLimited(specPath.Child("limited"), spec.Limited)...)
	case spec.Type == "", exempt, spec.Type == flowcontrolv1.PriorityLevelEnablementLimited:
	default:
		errs = append(errs, field.NotSupported(specPath.Child("type"), spec.Type,
			[]flowcontrolv1.PriorityLevelEnablement{flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited}))
	}
	return errs
}

func validateShares(path *field.Path, shares *int32) field.ErrorList {
	if shares == nil || *shares >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("nominalConcurrencyShares"), *shares, "must be a non-negative integer")}
}

func validateLendable(path *field.Path, percent *int32) field.ErrorList {
	if percent == nil || (*percent >= 0 && *percent <= 100) {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("lendablePercent"), *percent, "must be between 0 and 100, inclusive")}
}

func validateLimited(path *field.Path, limited *flowcontrolv1.LimitedPriorityLevelConfiguration) field.ErrorList {
	errs := validateShares(path, limited.NominalConcurrencyShares)
	response, at := &limited.LimitResponse, path.Child("limitResponse")
	switch response.Type {
	case "", flowcontrolv1.LimitResponseTypeReject:
	case flowcontrolv1.LimitResponseTypeQueue:
		if response.Queuing != nil {
			errs = append(errs, validateQueuing(at.Child("queuing"), response.Queuing)...)
		}
	default:
		errs = append(errs, field.NotSupported(at.Child("type"), response.Type,
			[]flowcontrolv1.LimitResponseType{flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject}))
	}
	errs = append(errs, validateLendable(path, limited.LendablePercent)...)
	if b := limited.BorrowingLimitPercent; b != nil && *b < 0 {
		errs = append(errs, field.Invalid(path.Child("borrowingLimitPercent"), *b, "if specified, must be a non-negative integer"))
	}
	return errs
}

func validateQueuing(path *field.Path, q *flowcontrolv1.QueuingConfiguration) field.ErrorList {
	var errs field.ErrorList
	refuse := func(child string, value int32, message string) {
		errs = append(errs, field.Invalid(path.Child(child), value, message))
	}
	const positive = "must be positive"
	if q.QueueLengthLimit <= 0 {
		refuse("queueLengthLimit", q.QueueLengthLimit, positive)
	}
	switch {
	case q.Queues <= 0:
		refuse("queues", q.Queues, positive)
	case q.Queues > mostQueues:
		refuse("queues", q.Queues, fmt.Sprintf("must not be greater than %d", mostQueues))
	}
	switch {
	case q.HandSize <= 0:
		refuse("handSize", q.HandSize, positive)
	case q.HandSize > q.Queues:
		refuse("handSize", q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues))
	case shufflesharding.RequiredEntropyBits(int(q.Queues), int(q.HandSize)) > shufflesharding.MaxHashBits:
		refuse("handSize", q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d",
			q.Queues, q.HandSize, shufflesharding.MaxHashBits))
	}
	return errs
}

// declaredLevel are the rules that upstream declares with the types. They are
// silent about what an update leaves as it was.
func declaredLevel(spec, old *flowcontrolv1.PriorityLevelConfigurationSpec) field.ErrorList {
	if old != nil && equality.Semantic.DeepEqual(spec, old) {
		return nil
	}
	var errs field.ErrorList
	sameType := old != nil && old.Type == spec.Type
	if spec.Type != flowcontrolv1.PriorityLevelEnablementExempt && spec.Exempt != nil &&
		!(sameType && equality.Semantic.DeepEqual(spec.Exempt, old.Exempt)) {
		errs = append(errs, field.Forbidden(specPath.Child("exempt"), ""))
	}
	if !(sameType && equality.Semantic.DeepEqual(spec.Limited, old.Limited)) {
		switch limited := spec.Type == flowcontrolv1.PriorityLevelEnablementLimited; {
		case limited && spec.Limited == nil:
			errs = append(errs, field.Required(specPath.Child("limited"), ""))
		case !limited && spec.Limited != nil:
			errs = append(errs, field.Forbidden(specPath.Child("limited"), ""))
		}
	}
	if spec.Type == "" && !sameType {
		errs = append(errs, field.Required(specPath.Child("type"), ""))
	}
	if spec.Limited == nil {
		return errs
	}
	if old != nil && old.Limited != nil {
		return append(errs, declaredResponse(&spec.Limited.LimitResponse, &old.Limited.LimitResponse)...)
	}
	return append(errs, declaredResponse(&spec.Limited.LimitResponse, nil)...)
}

func declaredResponse(response, old *flowcontrolv1.LimitResponse) field.ErrorList {
	if old != nil && equality.Semantic.DeepEqual(response, old) {
		return nil
	}
	path := specPath.Child("limited", "limitResponse")
	var errs field.ErrorList
	switch queue := response.Type == flowcontrolv1.LimitResponseTypeQueue; {
	case queue && response.Queuing == nil:
		errs = append(errs, field.Required(path.Child("queuing"), ""))
	case !queue && response.Queuing != nil:
		errs = append(errs, field.Forbidden(path.Child("queuing"), ""))
	}
	if response.Type == "" {
		errs = append(errs, field.Required(path.Child("type"), ""))
	}
	return errs
}

// validateFixedLevel keeps the levels that every server has as they are.
func validateFixedLevel(l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var fixed *flowcontrolv1.PriorityLevelConfiguration
	for _, mandatory := range bootstrap.MandatoryPriorityLevelConfigurations {
		if mandatory.Name == l.Name {
			fixed = mandatory.DeepCopy()
			defaultLevel(fixed)
		}
	}
	if fixed == nil {
		return nil
	}
	message := fmt.Sprintf("spec of '%s' must equal the fixed value", l.Name)
	if l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
		message = fmt.Sprintf("spec of '%s' except the 'spec.exempt' field must equal the fixed value", l.Name)
		fixed.Spec.Exempt = l.Spec.Exempt
	}
	if equality.Semantic.DeepEqual(l.Spec, fixed.Spec) {
		return nil
	}
	return field.ErrorList{field.Invalid(specPath, check.Internal(l.Spec), message)}
}

func validateLevelStatus(status *flowcontrolv1.PriorityLevelConfigurationStatus) field.ErrorList {
	types := make([]string, 0, len(status.Conditions))
	for _, c := range status.Conditions {
		types = append(types, string(c.Type))
	}
	return validateConditions(types)
}

// validateConditions checks the types of a status's conditions.
func validateConditions(types []string) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, t := range types {
		path := field.NewPath("status", "conditions").Index(i).Child("type")
		if seen[t] {
			errs = append(errs, field.Duplicate(path, t))
		}
		seen[t] = true
		if t == "" {
			errs = append(errs, field.Required(path, ""))
		}
	}
	return errs
}
