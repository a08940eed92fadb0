package wire

import (
	"errors"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"coracle.local/libs/kinds"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

// Every kind's Event and Write messages share their field numbers, so one Go
// type serves each.
const (
	eventType   = 1
	eventObject = 2

	writeObject      = 1
	writeOptions     = 2
	writeSubresource = 3
)

// Event is a kind's XxxEvent message. Object must be set before Unmarshal.
type Event[T kinds.Object] struct {
	Type   apiv1.EventType
	Object T
}

// Marshal encodes the event.
func (e *Event[T]) Marshal() ([]byte, error) {
	b := protowire.AppendTag(nil, eventType, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(e.Type))
	return appendMessage(b, eventObject, e.Object)
}

// Unmarshal decodes the event; unknown fields are skipped.
func (e *Event[T]) Unmarshal(b []byte) error {
	return fields(b, func(n protowire.Number, v uint64, data []byte) error {
		switch n {
		case eventType:
			e.Type = apiv1.EventType(v)
		case eventObject:
			return e.Object.Unmarshal(data)
		}
		return nil
	})
}

// EventFrame is an encoded event around an object's encoded frame, which is
// shared, not copied.
func EventFrame(t apiv1.EventType, object []byte) mem.BufferSlice {
	head := protowire.AppendTag(make([]byte, 0, 16), eventType, protowire.VarintType)
	head = protowire.AppendVarint(head, uint64(t))
	head = protowire.AppendTag(head, eventObject, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(object)))
	return mem.BufferSlice{mem.SliceBuffer(head), mem.SliceBuffer(object)}
}

// Write is a kind's XxxWrite message. Object must be set before Unmarshal.
type Write[T kinds.Object] struct {
	Object      T
	Options     *apiv1.WriteOptions
	Subresource string
}

// Marshal encodes the write.
func (w *Write[T]) Marshal() ([]byte, error) {
	b, err := appendMessage(nil, writeObject, w.Object)
	if err != nil {
		return nil, err
	}
	if w.Options != nil {
		o, err := proto.Marshal(w.Options)
		if err != nil {
			return nil, err
		}
		b = protowire.AppendTag(b, writeOptions, protowire.BytesType)
		b = protowire.AppendBytes(b, o)
	}
	if w.Subresource != "" {
		b = protowire.AppendTag(b, writeSubresource, protowire.BytesType)
		b = protowire.AppendString(b, w.Subresource)
	}
	return b, nil
}

// Unmarshal decodes the write; unknown fields are skipped.
func (w *Write[T]) Unmarshal(b []byte) error {
	return fields(b, func(n protowire.Number, _ uint64, data []byte) error {
		switch n {
		case writeObject:
			return w.Object.Unmarshal(data)
		case writeOptions:
			w.Options = &apiv1.WriteOptions{}
			return proto.Unmarshal(data, w.Options)
		case writeSubresource:
			w.Subresource = string(data)
		}
		return nil
	})
}

// List is any kind's XxxList message, read one item after the other.
type List[T kinds.Object] struct {
	// New makes an empty item; it must be set before Unmarshal.
	New             func() T
	Items           []T
	ResourceVersion string
	Continue        string
}

// Unmarshal decodes the list; unknown fields are skipped.
func (l *List[T]) Unmarshal(b []byte) error {
	return fields(b, func(n protowire.Number, _ uint64, data []byte) error {
		switch n {
		case 1:
			return fields(data, func(n protowire.Number, _ uint64, data []byte) error {
				switch n {
				case 2:
					l.ResourceVersion = string(data)
				case 3:
					l.Continue = string(data)
				}
				return nil
			})
		case 2:
			item := l.New()
			if err := item.Unmarshal(data); err != nil {
				return err
			}
			l.Items = append(l.Items, item)
		}
		return nil
	})
}

// ListHead encodes the metadata of a list; ListItem, for each item, encodes
// what goes before its frame.
func ListHead(resourceVersion, cont string, remaining *int64) []byte {
	var meta []byte
	meta = protowire.AppendTag(meta, 2, protowire.BytesType)
	meta = protowire.AppendString(meta, resourceVersion)
	meta = protowire.AppendTag(meta, 3, protowire.BytesType)
	meta = protowire.AppendString(meta, cont)
	if remaining != nil {
		meta = protowire.AppendTag(meta, 4, protowire.VarintType)
		meta = protowire.AppendVarint(meta, uint64(*remaining))
	}
	b := protowire.AppendTag(nil, 1, protowire.BytesType)
	return protowire.AppendBytes(b, meta)
}

// ListItem appends to b what precedes an item's frame of size bytes.
func ListItem(b []byte, size int) []byte {
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size))
}

func appendMessage(b []byte, field protowire.Number, o kinds.Object) ([]byte, error) {
	size := o.Size()
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	start := len(b)
	b = append(b, make([]byte, size)...)
	if _, err := o.MarshalToSizedBuffer(b[start:]); err != nil {
		return nil, err
	}
	return b, nil
}

var errFrame = errors.New("wire: malformed frame")

// fields walks a message's fields. data is not copied.
func fields(b []byte, visit func(n protowire.Number, varint uint64, data []byte) error) error {
	for len(b) > 0 {
		n, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errFrame
		}
		b = b[size:]
		var v uint64
		var data []byte
		switch t {
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(n, t, b)
		}
		if size < 0 {
			return errFrame
		}
		if err := visit(n, v, data); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// AppendResourceVersion sets an object's resource version at the end of its
// frame: protobuf merges repeated embedded messages, and in every kind field 1
// is the metadata, whose field 6 is the resource version.
func AppendResourceVersion(frame []byte, revision string) []byte {
	size := protowire.SizeTag(6) + protowire.SizeBytes(len(revision))
	frame = protowire.AppendTag(frame, 1, protowire.BytesType)
	frame = protowire.AppendVarint(frame, uint64(size))
	frame = protowire.AppendTag(frame, 6, protowire.BytesType)
	return protowire.AppendString(frame, revision)
}
