package cache

import (
	"reflect"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"coracle.local/libs/kinds"
)

// wellFormed tells whether a message can be decoded as an object of the kind,
// without doing so: it walks the bytes along the tags of the kind's struct.
func wellFormed(k *kinds.Kind, message []byte) bool {
	s, ok := shapes.Load(k)
	if !ok {
		s, _ = shapes.LoadOrStore(k, shapeOf(reflect.TypeOf(k.New()).Elem()))
	}
	return s.(*shape).fits(message)
}

// shape is what the encoding of a struct looks like.
type shape struct {
	once   sync.Once
	t      reflect.Type
	fields []member // by number
	// opaque reads what a type encodes by code of its own, such as a time.
	opaque func([]byte) error
}

// member is one field of a message.
type member struct {
	wire   protowire.Type
	known  bool
	packed bool   // numbers, which may also come in one piece
	shape  *shape // of a message; nil for others
}

var shapes sync.Map // of reflect.Type, or *kinds.Kind, to *shape

func shapeOf(t reflect.Type) *shape {
	s, ok := shapes.Load(t)
	if !ok {
		s, _ = shapes.LoadOrStore(t, &shape{t: t})
	}
	out := s.(*shape)
	out.once.Do(out.build)
	return out
}

// build reads the tags. Shapes of members are found when first needed: types may
// contain themselves.
func (s *shape) build() {
	switch s.t.Kind() {
	case reflect.Map: // its entries have a key and a value
		s.set(1, memberOf(s.t.Key()))
		s.set(2, memberOf(s.t.Elem()))
	case reflect.Struct:
		for i := range s.t.NumField() {
			f := s.t.Field(i)
			_, rest, _ := strings.Cut(f.Tag.Get("protobuf"), ",")
			number, _, _ := strings.Cut(rest, ",")
			if number, err := strconv.Atoi(number); err == nil {
				s.set(number, memberOf(f.Type))
			}
		}
	}
	if _, ok := reflect.New(s.t).Interface().(unmarshaler); ok && len(s.fields) == 0 {
		s.opaque = func(b []byte) error { return reflect.New(s.t).Interface().(unmarshaler).Unmarshal(b) }
	}
}

func (s *shape) set(number int, m member) {
	for len(s.fields) <= number {
		s.fields = append(s.fields, member{})
	}
	m.known = true
	s.fields[number] = m
}

type unmarshaler interface{ Unmarshal([]byte) error }

var unmarshalers = reflect.TypeFor[unmarshaler]()

func memberOf(t reflect.Type) member {
	if reflect.PointerTo(t).Implements(unmarshalers) {
		return message(t)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return memberOf(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return member{wire: protowire.BytesType}
		}
		m := memberOf(t.Elem())
		m.packed = m.wire != protowire.BytesType
		return m
	case reflect.Map, reflect.Struct:
		return message(t)
	case reflect.Float64:
		return member{wire: protowire.Fixed64Type}
	case reflect.Float32:
		return member{wire: protowire.Fixed32Type}
	case reflect.String:
		return member{wire: protowire.BytesType}
	}
	return member{wire: protowire.VarintType}
}

func message(t reflect.Type) member {
	s, _ := shapes.LoadOrStore(t, &shape{t: t})
	return member{wire: protowire.BytesType, shape: s.(*shape)}
}

// fits tells whether bytes are of the shape.
func (s *shape) fits(b []byte) bool {
	s.once.Do(s.build)
	if s.opaque != nil {
		return s.opaque(b) == nil
	}
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 || wire == protowire.EndGroupType {
			return false
		}
		b = b[n:]
		value := protowire.ConsumeFieldValue(number, wire, b)
		if value < 0 {
			return false
		}
		if int(number) < len(s.fields) {
			if m := &s.fields[number]; m.known && !m.takes(wire, b[:value]) {
				return false
			}
		}
		b = b[value:]
	}
	return true
}

func (m *member) takes(wire protowire.Type, value []byte) bool {
	if wire != m.wire {
		return m.packed && wire == protowire.BytesType && unpacks(m.wire, value)
	}
	if m.shape == nil {
		return true
	}
	data, n := protowire.ConsumeBytes(value)
	return n >= 0 && m.shape.fits(data)
}

func unpacks(wire protowire.Type, value []byte) bool {
	data, n := protowire.ConsumeBytes(value)
	if n < 0 {
		return false
	}
	for len(data) > 0 {
		n := protowire.ConsumeFieldValue(1, wire, data)
		if n < 0 {
			return false
		}
		data = data[n:]
	}
	return true
}
