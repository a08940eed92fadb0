// Package events holds the behaviour of the kinds of the events.k8s.io API
// group.
package events

import (
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// Event is the behaviour of events.k8s.io/v1 Event. It is the stored object
// of core/v1 Event in another shape, and stricter about what it lets in.
func Event() strategy.Kind[*eventsv1.Event] {
	k := strategy.Reshape(core.Event(), strategy.Shape[*eventsv1.Event, *corev1.Event]{
		From: fromCore,
		To:   toCore,
		Set:  func(dst, src *eventsv1.Event) { *dst = *src },
	})
	k.NameRule = nil
	k.ValidateCreate = func(e *eventsv1.Event) field.ErrorList { return validateCreate(toCore(e)) }
	k.ValidateUpdate = func(e, old *eventsv1.Event) field.ErrorList { return validateUpdate(toCore(e), toCore(old)) }
	k.Fields = func(e *eventsv1.Event) fields.Set {
		return fields.Set{
			"reason":                    e.Reason,
			"regarding.kind":            e.Regarding.Kind,
			"regarding.namespace":       e.Regarding.Namespace,
			"regarding.name":            e.Regarding.Name,
			"regarding.uid":             string(e.Regarding.UID),
			"regarding.apiVersion":      e.Regarding.APIVersion,
			"regarding.resourceVersion": e.Regarding.ResourceVersion,
			"regarding.fieldPath":       e.Regarding.FieldPath,
			"reportingController":       e.ReportingController,
			"type":                      e.Type,
		}
	}
	return k
}

func fromCore(stored *corev1.Event) *eventsv1.Event {
	in := stored.DeepCopy()
	out := &eventsv1.Event{
		ObjectMeta:               in.ObjectMeta,
		EventTime:                in.EventTime,
		ReportingController:      in.ReportingController,
		ReportingInstance:        in.ReportingInstance,
		Action:                   in.Action,
		Reason:                   in.Reason,
		Regarding:                in.InvolvedObject,
		Related:                  in.Related,
		Note:                     in.Message,
		Type:                     in.Type,
		DeprecatedSource:         in.Source,
		DeprecatedFirstTimestamp: in.FirstTimestamp,
		DeprecatedLastTimestamp:  in.LastTimestamp,
		DeprecatedCount:          in.Count,
	}
	out.SetGroupVersionKind(eventsv1.SchemeGroupVersion.WithKind("Event"))
	if in.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
	return out
}

func toCore(event *eventsv1.Event) *corev1.Event {
	in := event.DeepCopy()
	out := &corev1.Event{
		ObjectMeta:          in.ObjectMeta,
		InvolvedObject:      in.Regarding,
		Reason:              in.Reason,
		Message:             in.Note,
		Source:              in.DeprecatedSource,
		FirstTimestamp:      in.DeprecatedFirstTimestamp,
		LastTimestamp:       in.DeprecatedLastTimestamp,
		Count:               in.DeprecatedCount,
		Type:                in.Type,
		EventTime:           in.EventTime,
		Action:              in.Action,
		Related:             in.Related,
		ReportingController: in.ReportingController,
		ReportingInstance:   in.ReportingInstance,
	}
	out.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Event"))
	if in.Series != nil {
		out.Series = &corev1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
	return out
}

func validateCreate(e *corev1.Event) field.ErrorList {
	errs := core.ValidateEvent(e, "reportingController")
	metadata := field.NewPath("metadata")
	errs = append(errs, validation.ValidateObjectMetaAccessor(e, true, validation.NameIsDNSSubdomain, metadata)...)
	errs = append(errs, check.Finalizers(e)...)
	errs = append(errs, validateSeries(e)...)
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", e.Type)))
	}
	for _, outdated := range []struct {
		child string
		set   bool
	}{
		{"firstTimestamp", !e.FirstTimestamp.IsZero()},
		{"lastTimestamp", !e.LastTimestamp.IsZero()},
		{"count", e.Count != 0},
		{"source", e.Source != corev1.EventSource{}},
	} {
		if outdated.set {
			errs = append(errs, field.Invalid(field.NewPath(outdated.child), "", "needs to be unset"))
		}
	}
	return errs
}

func validateSeries(e *corev1.Event) field.ErrorList {
	if e.Series == nil {
		return nil
	}
	var errs field.ErrorList
	if e.Series.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
	}
	if e.Series.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
	}
	return errs
}

func validateUpdate(e, old *corev1.Event) field.ErrorList {
	errs := core.ValidateEvent(e, "reportingController")
	errs = append(errs, check.Finalizers(e)...)
	if !reflect.DeepEqual(e.Series, old.Series) {
		errs = append(errs, validateSeries(e)...)
	}
	unchanged := func(child string, value, was any) {
		errs = append(errs, check.Unchanged(field.NewPath(child), value, was)...)
	}
	unchanged("involvedObject", e.InvolvedObject, old.InvolvedObject)
	unchanged("reason", e.Reason, old.Reason)
	unchanged("message", e.Message, old.Message)
	unchanged("source", e.Source, old.Source)
	unchanged("firstTimestamp", e.FirstTimestamp, old.FirstTimestamp)
	unchanged("lastTimestamp", e.LastTimestamp, old.LastTimestamp)
	unchanged("count", e.Count, old.Count)
	unchanged("reason", e.Reason, old.Reason)
	unchanged("type", e.Type, old.Type)
	// Clients send the time back with microseconds, whatever was stored.
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		unchanged("eventTime", e.EventTime, old.EventTime)
	}
	unchanged("action", e.Action, old.Action)
	unchanged("related", e.Related, old.Related)
	unchanged("reportingController", e.ReportingController, old.ReportingController)
	unchanged("reportingInstance", e.ReportingInstance, old.ReportingInstance)
	return errs
}
