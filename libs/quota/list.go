package quota

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// None of the functions here changes a list that it is given.

func number(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// Names are the resources of a list, sorted.
func Names(list corev1.ResourceList) []corev1.ResourceName {
	out := make([]corev1.ResourceName, 0, len(list))
	for name := range list {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Equal tells whether two lists have the same resources in the same amounts.
func Equal(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, x := range a {
		if y, ok := b[name]; !ok || x.Cmp(y) != 0 {
			return false
		}
	}
	return true
}

// Add is the sum of two lists.
func Add(a, b corev1.ResourceList) corev1.ResourceList {
	out := a.DeepCopy()
	if out == nil {
		out = corev1.ResourceList{}
	}
	for name, y := range b {
		x, ok := out[name]
		if !ok {
			out[name] = y.DeepCopy()
			continue
		}
		x.Add(y)
		out[name] = x
	}
	return out
}

// Growth is by how much a list exceeds another; resources that did not grow
// are left out.
func Growth(is, was corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, x := range is {
		x = x.DeepCopy()
		if y, ok := was[name]; ok {
			x.Sub(y)
		}
		if x.Sign() > 0 {
			out[name] = x
		}
	}
	return out
}

// Only is a list without all resources but those named.
func Only(list corev1.ResourceList, names []corev1.ResourceName) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, name := range names {
		if x, ok := list[name]; ok {
			out[name] = x.DeepCopy()
		}
	}
	return out
}

// Exceeded are the resources of which there is more than allowed, sorted.
func Exceeded(list, allowed corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for name, x := range list {
		if limit, ok := allowed[name]; ok && x.Cmp(limit) > 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Format is a list in upstream's form: cpu=1,pods=2.
func Format(list corev1.ResourceList) string {
	parts := make([]string, 0, len(list))
	for _, name := range Names(list) {
		x := list[name]
		parts = append(parts, string(name)+"="+x.String())
	}
	return strings.Join(parts, ",")
}

// both are the names that two lists share, sorted.
func both(a, b []corev1.ResourceName) []corev1.ResourceName {
	out := slices.DeleteFunc(slices.Clone(a), func(name corev1.ResourceName) bool { return !slices.Contains(b, name) })
	slices.Sort(out)
	return slices.Compact(out)
}

// chosen tells whether the values that an object has for a scope meet a
// requirement of it; one that is not well formed is met by nothing.
func chosen(r Requirement, values ...string) bool {
	operators := map[corev1.ScopeSelectorOperator]selection.Operator{
		corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
		corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	selector, err := labels.NewRequirement(string(r.ScopeName), operators[r.Operator], r.Values)
	if err != nil {
		return false
	}
	if len(values) == 0 {
		return selector.Matches(labels.Set{})
	}
	return slices.ContainsFunc(values, func(v string) bool { return selector.Matches(labels.Set{string(r.ScopeName): v}) })
}
