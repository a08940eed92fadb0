// Package stream sends watches: as chunks of a response, or over a WebSocket.
package stream

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/rest/respond"
	"coracle.local/services/apiserver/internal/front/rest/table"
)

// Encoder encodes the events of one watch. Objects in their own shape come from
// the cache encoded, and that encoding is shared by all watches.
type Encoder struct {
	Kind    *kinds.Kind
	Printer table.Printer
	Output  negotiate.Output
	Include metav1.IncludeObjectPolicy

	// unframed leaves out what separates events from each other: a message of
	// a WebSocket is one event.
	unframed bool
	// continued is set once a table's headers were sent.
	continued bool
}

// MediaType is that of the whole stream.
func (e *Encoder) MediaType() string {
	if e.Output.Encoding == negotiate.JSON {
		return negotiate.JSON.MediaType()
	}
	return e.Output.Encoding.MediaType() + ";stream=watch"
}

// Append adds an event to b.
func (e *Encoder) Append(b []byte, ev cache.Event) ([]byte, error) {
	if ev.Item == nil || e.Output.Shape != negotiate.Whole {
		return e.shaped(b, ev)
	}
	if e.Output.Encoding == negotiate.Protobuf {
		return e.protobuf(b, ev.Type, e.Kind.GroupVersionKind(), ev.Item.Frame()), nil
	}
	raw, err := ev.Item.JSON()
	if err != nil {
		return b, err
	}
	return appendJSON(b, ev.Type, raw), nil
}

// shaped adds an event of an object that was made for it: a bookmark, a table,
// metadata alone.
func (e *Encoder) shaped(b []byte, ev cache.Event) ([]byte, error) {
	object, kind, err := e.shape(ev)
	if err != nil {
		return b, err
	}
	return e.object(b, ev.Type, kind, object)
}

func (e *Encoder) shape(ev cache.Event) (runtime.Object, schema.GroupVersionKind, error) {
	version := e.Output.Version
	switch e.Output.Shape {
	case negotiate.Table:
		o, err := e.objectOf(ev)
		if err != nil {
			return nil, schema.GroupVersionKind{}, err
		}
		meta := metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}
		include := e.Include
		if ev.InitialEnd && include == metav1.IncludeNone {
			// Clients find the end of the initial events by its annotation.
			include = metav1.IncludeMetadata
		}
		t := e.Printer.Table(version, meta, []metav1.TableRow{e.Printer.Row(o, version, include)}, !e.continued)
		e.continued = true
		return t, table.Kind(version, "Table"), nil
	case negotiate.Metadata:
		if ev.Item != nil {
			o, err := table.EncodedMetadata(e.Kind, ev.Item, version)
			return o, table.Kind(version, "PartialObjectMetadata"), err
		}
		o, err := e.objectOf(ev)
		if err != nil {
			return nil, schema.GroupVersionKind{}, err
		}
		return table.Metadata(o, version), table.Kind(version, "PartialObjectMetadata"), nil
	case negotiate.MetadataList:
		return nil, schema.GroupVersionKind{}, negotiate.NotAcceptable(fmt.Sprintf(
			"you requested PartialObjectMetadataList, but the requested object is not a list (%T)", e.Kind.New()))
	}
	o, err := e.objectOf(ev)
	return o, e.Kind.GroupVersionKind(), err
}

// objectOf is the event's object, or what stands for it in a bookmark.
func (e *Encoder) objectOf(ev cache.Event) (kinds.Object, error) {
	if ev.Item != nil {
		return ev.Item.Decode()
	}
	o := e.Kind.New()
	o.SetResourceVersion(strconv.FormatInt(ev.Revision, 10))
	annotations := map[string]string{}
	if ev.InitialEnd {
		annotations[metav1.InitialEventsAnnotationKey] = "true"
	}
	// What upstream's own form of these kinds cannot leave out.
	switch o := o.(type) {
	case *appsv1.Deployment:
		o.Spec.Replicas = new(int32)
	case *appsv1.StatefulSet:
		o.Spec.Replicas = new(int32)
	case *appsv1.DaemonSet:
		annotations[appsv1.DeprecatedTemplateGeneration] = "0"
	}
	if len(annotations) > 0 {
		o.SetAnnotations(annotations)
	}
	return o, nil
}

// Error adds the event that ends a stream which went wrong.
func (e *Encoder) Error(b []byte, err error) ([]byte, error) {
	return e.object(b, watch.Error, schema.GroupVersionKind{Version: "v1", Kind: "Status"}, respond.Status(err))
}

func (e *Encoder) object(b []byte, t watch.EventType, kind schema.GroupVersionKind, object runtime.Object) ([]byte, error) {
	if e.Output.Encoding == negotiate.Protobuf {
		message, ok := object.(interface{ Marshal() ([]byte, error) })
		if !ok {
			return b, fmt.Errorf("a %T cannot be encoded as protobuf", object)
		}
		object.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		raw, err := message.Marshal()
		if err != nil {
			return b, err
		}
		return e.protobuf(b, t, kind, raw), nil
	}
	object.GetObjectKind().SetGroupVersionKind(kind)
	raw, err := json.Marshal(object)
	if err != nil {
		return b, err
	}
	return appendJSON(b, t, raw), nil
}

func appendJSON(b []byte, t watch.EventType, raw []byte) []byte {
	b = append(b, `{"type":"`...)
	b = append(b, t...)
	b = append(b, `","object":`...)
	b = append(b, raw...)
	return append(b, "}\n"...)
}

// protobuf adds a WatchEvent{type, RawExtension{envelope}} with its length
// before it.
func (e *Encoder) protobuf(b []byte, t watch.EventType, kind schema.GroupVersionKind, message []byte) []byte {
	var space [256]byte
	head := respond.EnvelopeHead(space[:0], kind, len(message))
	envelope := len(head) + len(message) + len(respond.EnvelopeTail)
	extension := protowire.SizeTag(1) + protowire.SizeBytes(envelope)
	event := protowire.SizeTag(1) + protowire.SizeBytes(len(t)) + protowire.SizeTag(2) + protowire.SizeBytes(extension)
	if !e.unframed {
		b = binary.BigEndian.AppendUint32(b, uint32(event))
	}
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, string(t))
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(extension))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(envelope))
	b = append(b, head...)
	b = append(b, message...)
	return append(b, respond.EnvelopeTail...)
}
