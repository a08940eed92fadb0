// Package cells makes the columns and cells of the tables that kubectl
// prints, as upstream's printers do.
package cells

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Columns puts a table's columns together.
func Columns(columns ...metav1.TableColumnDefinition) []metav1.TableColumnDefinition { return columns }

// Name is the first column of almost every table.
func Name() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
}

// Age is the column that AgeOf fills.
func Age() metav1.TableColumnDefinition {
	return Text("Age", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"])
}

// Text is a column of strings.
func Text(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

// Number is a column of integers, which cells give as int64.
func Number(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}
}

// Bool is a column of booleans.
func Bool(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "boolean", Description: description}
}

// Wide makes a column that is shown with -o wide only.
func Wide(column metav1.TableColumnDefinition) metav1.TableColumnDefinition {
	column.Priority = 1
	return column
}

// Workload returns the wide columns that Containers fills.
func Workload() (containers, images metav1.TableColumnDefinition) {
	return Wide(Text("Containers", "Names of each container in the template.")),
		Wide(Text("Images", "Images referenced by each container in the template."))
}

// AgeOf is how long ago something was created.
func AgeOf(obj metav1.Object) string { return Since(obj.GetCreationTimestamp()) }

// Since is how long ago a moment was.
func Since(t metav1.Time) string { return since(t.Time) }

// SinceMicro is Since for a moment that is known to the microsecond.
func SinceMicro(t metav1.MicroTime) string { return since(t.Time) }

func since(t time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t))
}

// Containers lists the names and the images.
func Containers(list []corev1.Container) (names, images string) {
	n, i := make([]string, len(list)), make([]string, len(list))
	for k := range list {
		n[k], i[k] = list[k].Name, list[k].Image
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// Labels lists labels as a selector would.
func Labels(set map[string]string) string { return labels.FormatLabels(set) }

// Or is value, or what to show if there is none.
func Or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// Ptr is Or for an optional value.
func Ptr[T ~string](value *T, otherwise string) string {
	if value == nil {
		return otherwise
	}
	return string(*value)
}

// BoolPtr shows an optional boolean.
func BoolPtr(value *bool) string {
	switch {
	case value == nil:
		return "<unset>"
	case *value:
		return "True"
	}
	return "False"
}

// AtMost joins the first items and counts the rest; an empty list is
// "<unset>".
func AtMost(limit int, items []string) string {
	if len(items) > limit {
		return fmt.Sprintf("%s + %d more...", strings.Join(items[:limit], ","), len(items)-limit)
	}
	return Or(strings.Join(items, ","), "<unset>")
}

// Sorted joins the distinct items in order.
func Sorted(items []string) string {
	items = slices.Clone(items)
	slices.Sort(items)
	return strings.Join(slices.Compact(items), ",")
}

// AccessModes abbreviates the modes of a volume, each once, in a fixed order.
func AccessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var short []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		name string
	}{
		{corev1.ReadWriteOnce, "RWO"},
		{corev1.ReadOnlyMany, "ROX"},
		{corev1.ReadWriteMany, "RWX"},
		{corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			short = append(short, m.name)
		}
	}
	return strings.Join(short, ",")
}
