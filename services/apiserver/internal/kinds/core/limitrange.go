package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// LimitRange is the behaviour of core/v1 LimitRange.
func LimitRange() strategy.Kind[*corev1.LimitRange] {
	return strategy.Kind[*corev1.LimitRange]{
		Default: func(l *corev1.LimitRange) {
			for i := range l.Spec.Limits {
				defaultLimit(&l.Spec.Limits[i])
			}
		},
		PrepareCreate: func(l *corev1.LimitRange) {
			if l.Name == "" {
				l.Name = string(uuid.NewUUID())
			}
		},
		ValidateCreate:           validateLimitRange,
		ValidateUpdate:           func(l, _ *corev1.LimitRange) field.ErrorList { return validateLimitRange(l) },
		AllowCreateOnUpdate:      true,
		AllowUnconditionalUpdate: true,
		Columns:                  strategy.DefaultColumns(),
		Cells:                    func(l *corev1.LimitRange) []any { return strategy.DefaultCells(l) },
	}
}

func defaultLimit(l *corev1.LimitRangeItem) {
	for _, list := range []corev1.ResourceList{l.Max, l.Min, l.Default, l.DefaultRequest, l.MaxLimitRequestRatio} {
		roundUp(list)
	}
	if l.Type != corev1.LimitTypeContainer {
		return
	}
	if l.Default == nil {
		l.Default = corev1.ResourceList{}
	}
	if l.DefaultRequest == nil {
		l.DefaultRequest = corev1.ResourceList{}
	}
	for _, from := range []struct{ to, from corev1.ResourceList }{{l.Default, l.Max}, {l.DefaultRequest, l.Default}, {l.DefaultRequest, l.Min}} {
		for name, quantity := range from.from {
			if _, set := from.to[name]; !set {
				from.to[name] = quantity.DeepCopy()
			}
		}
	}
}

func validateLimitRange(l *corev1.LimitRange) field.ErrorList {
	var errs field.ErrorList
	types := sets.Set[corev1.LimitType]{}
	for i := range l.Spec.Limits {
		limit, at := &l.Spec.Limits[i], specPath.Child("limits").Index(i)
		errs = append(errs, validateLimitType(at.Child("type"), limit.Type)...)
		if types.Has(limit.Type) {
			errs = append(errs, field.Duplicate(at.Child("type"), limit.Type))
		}
		types.Insert(limit.Type)
		errs = append(errs, validateLimit(at, limit)...)
	}
	return errs
}

func validateLimitType(p *field.Path, kind corev1.LimitType) field.ErrorList {
	errs := check.All(p, string(kind), validation.IsQualifiedName(string(kind)))
	if len(errs) > 0 || strings.Contains(string(kind), "/") {
		return errs
	}
	switch kind {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
		return nil
	}
	return field.ErrorList{field.Invalid(p, string(kind), "must be a standard limit type or fully qualified")}
}

func validateLimit(p *field.Path, limit *corev1.LimitRangeItem) field.ErrorList {
	var errs field.ErrorList
	names := sets.Set[corev1.ResourceName]{}
	add := func(child string, list corev1.ResourceList) {
		for _, name := range sortedKeys(list) {
			at := p.Child(child).Key(string(name))
			if limit.Type == corev1.LimitTypePod || limit.Type == corev1.LimitTypeContainer {
				errs = append(errs, ValidateContainerResource(at, name)...)
			} else {
				errs = append(errs, validateResourceName(at, name)...)
			}
			names.Insert(name)
		}
	}
	add("max", limit.Max)
	add("min", limit.Min)
	if limit.Type == corev1.LimitTypePod {
		const refused = "may not be specified when `type` is 'Pod'"
		if len(limit.Default) > 0 {
			errs = append(errs, field.Forbidden(p.Child("default"), refused))
		}
		if len(limit.DefaultRequest) > 0 {
			errs = append(errs, field.Forbidden(p.Child("defaultRequest"), refused))
		}
	} else {
		add("default", limit.Default)
		add("defaultRequest", limit.DefaultRequest)
	}
	if limit.Type == corev1.LimitTypePersistentVolumeClaim {
		_, least := limit.Min[corev1.ResourceStorage]
		_, most := limit.Max[corev1.ResourceStorage]
		if !least && !most {
			errs = append(errs, field.Required(p.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
		}
	}
	add("maxLimitRequestRatio", limit.MaxLimitRequestRatio)
	for _, name := range sets.List(names) {
		errs = append(errs, validateLimitOrder(p, limit, name)...)
	}
	return errs
}

// bound is one of the quantities that a limit gives for a resource.
type bound struct {
	resource.Quantity
	set bool
}

func boundOf(list corev1.ResourceList, name corev1.ResourceName) bound {
	quantity, set := list[name]
	return bound{quantity, set}
}

func (b bound) over(other bound) bool { return b.set && other.set && b.Cmp(other.Quantity) > 0 }

func validateLimitOrder(p *field.Path, limit *corev1.LimitRangeItem, name corev1.ResourceName) field.ErrorList {
	least, most := boundOf(limit.Min, name), boundOf(limit.Max, name)
	var usual, request bound
	if limit.Type != corev1.LimitTypePod {
		usual, request = boundOf(limit.Default, name), boundOf(limit.DefaultRequest, name)
	}
	var errs field.ErrorList
	for _, order := range []struct {
		wrong         bool
		child         string
		shown         bound
		format        string
		first, second bound
	}{
		{least.over(most), "min", least, "min value %s is greater than max value %s", least, most},
		{least.over(request), "defaultRequest", request, "min value %s is greater than default request value %s", least, request},
		{request.over(most), "defaultRequest", request, "default request value %s is greater than max value %s", request, most},
		{request.over(usual), "defaultRequest", request, "default request value %s is greater than default limit value %s", request, usual},
		{least.over(usual), "default", least, "min value %s is greater than default value %s", least, usual},
		{usual.over(most), "default", most, "default value %s is greater than max value %s", usual, most},
	} {
		if order.wrong {
			errs = append(errs, field.Invalid(p.Child(order.child).Key(string(name)), order.shown.Quantity,
				fmt.Sprintf(order.format, order.first.String(), order.second.String())))
		}
	}
	errs = append(errs, validateRatio(p.Child("maxLimitRequestRatio").Key(string(name)), boundOf(limit.MaxLimitRequestRatio, name), least, most)...)
	if !mayOvercommit(name) && usual.set && request.set && usual.Cmp(request.Quantity) != 0 {
		errs = append(errs, field.Invalid(p.Child("defaultRequest").Key(string(name)), request.Quantity,
			fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", usual.String(), request.String(), name)))
	}
	return errs
}

func validateRatio(p *field.Path, ratio, least, most bound) field.ErrorList {
	if !ratio.set {
		return nil
	}
	var errs field.ErrorList
	if ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		errs = append(errs, field.Invalid(p, ratio.Quantity, fmt.Sprintf("ratio %s is less than 1", ratio.String())))
	}
	if !least.set || !most.set {
		return errs
	}
	value, low, high := float64(ratio.Value()), least.Value(), most.Value()
	if ratio.Value() < resource.MaxMilliValue && low < resource.MaxMilliValue && high < resource.MaxMilliValue {
		value, low, high = float64(ratio.MilliValue())/1000, least.MilliValue(), most.MilliValue()
	}
	if limit := float64(high) / float64(low); value > limit {
		errs = append(errs, field.Invalid(p, ratio.Quantity, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), limit)))
	}
	return errs
}
