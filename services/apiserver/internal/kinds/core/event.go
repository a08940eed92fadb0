package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// Longest values of an event's fields.
const (
	maxEventField = 128
	maxEventNote  = 1024
)

// Event is the behaviour of core/v1 Event, which is also what events of
// events.k8s.io are stored as.
func Event() strategy.Kind[*corev1.Event] {
	return strategy.Kind[*corev1.Event]{
		ValidateCreate: func(e *corev1.Event) field.ErrorList { return ValidateEvent(e, "reportingComponent") },
		ValidateUpdate: func(e, _ *corev1.Event) field.ErrorList { return ValidateEvent(e, "reportingComponent") },
		// Old clients name events after objects whose names are no subdomains.
		NameRule:                 check.PathSegment,
		MetadataLast:             true,
		Fields:                   eventFields,
		AllowCreateOnUpdate:      true,
		AllowUnconditionalUpdate: true,
		Columns:                  EventColumns(),
		Cells:                    EventCells,
	}
}

func eventFields(e *corev1.Event) fields.Set {
	return fields.Set{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         cells.Or(e.Source.Component, e.ReportingController),
		"type":                           e.Type,
	}
}

// ValidateEvent checks an event written through any version. Events with an
// eventTime are of the new kind, and more is asked of them; controllerField is
// the name by which the version knows the reporting controller.
func ValidateEvent(e *corev1.Event, controllerField string) field.ErrorList {
	mismatch := field.Invalid(field.NewPath("involvedObject", "namespace"), e.InvolvedObject.Namespace, "does not match event.namespace")
	if e.EventTime.IsZero() {
		about := e.InvolvedObject.Namespace
		if (about == "" && e.Namespace != metav1.NamespaceNone && e.Namespace != metav1.NamespaceDefault) || (about != "" && about != e.Namespace) {
			return field.ErrorList{mismatch}
		}
		return nil
	}
	var errs field.ErrorList
	if e.InvolvedObject.Namespace == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
		errs = append(errs, mismatch)
	}
	controller := field.NewPath(controllerField)
	if e.ReportingController == "" {
		errs = append(errs, field.Required(controller, ""))
	}
	errs = append(errs, check.QualifiedName(controller, e.ReportingController)...)
	for _, f := range []struct {
		name, value string
		optional    bool
		longest     int
	}{
		{"reportingInstance", e.ReportingInstance, false, maxEventField},
		{"action", e.Action, false, maxEventField},
		{"reason", e.Reason, false, maxEventField},
		{"message", e.Message, true, maxEventNote},
	} {
		if f.value == "" && !f.optional {
			errs = append(errs, field.Required(field.NewPath(f.name), ""))
		}
		if len(f.value) > f.longest {
			errs = append(errs, field.Invalid(field.NewPath(f.name), "", fmt.Sprintf("can have at most %v characters", f.longest)))
		}
	}
	return errs
}

// EventColumns head the table of events in both shapes.
func EventColumns() []metav1.TableColumnDefinition {
	doc := corev1.Event{}.SwaggerDoc()
	name := cells.Name()
	return cells.Columns(
		cells.Text("Last Seen", doc["lastTimestamp"]),
		cells.Text("Type", doc["type"]),
		cells.Text("Reason", doc["reason"]),
		cells.Text("Object", doc["involvedObject"]),
		cells.Wide(cells.Text("Subobject", corev1.ObjectReference{}.SwaggerDoc()["fieldPath"])),
		cells.Wide(cells.Text("Source", doc["source"])),
		cells.Text("Message", doc["message"]),
		cells.Wide(cells.Text("First Seen", doc["firstTimestamp"])),
		cells.Wide(cells.Text("Count", doc["count"])),
		cells.Wide(name),
	)
}

// EventCells fill EventColumns.
func EventCells(e *corev1.Event) []any {
	first := cells.Since(e.FirstTimestamp)
	if e.FirstTimestamp.IsZero() {
		first = cells.SinceMicro(e.EventTime)
	}
	last := cells.Since(e.LastTimestamp)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := max(e.Count, 1)
	if e.Series != nil {
		last, count = cells.SinceMicro(e.Series.LastObservedTime), e.Series.Count
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	source := cells.Or(e.Source.Component, e.ReportingController)
	if instance := cells.Or(e.Source.Host, e.ReportingInstance); instance != "" {
		source += ", " + instance
	}
	return []any{
		last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source, strings.TrimSpace(e.Message), first, int64(count), e.Name,
	}
}
