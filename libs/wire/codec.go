// Package wire puts the structs of k8s.io/api on gRPC: a codec for types that
// marshal themselves, and the frames that every kind's messages share.
package wire

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// marshaler is what gogo-style generated structs and our frames have.
type marshaler interface {
	Marshal() ([]byte, error)
}

type unmarshaler interface {
	Unmarshal([]byte) error
}

// Codec is named "proto" and is forced on our servers and clients rather than
// registered, so that it is no matter to other gRPC users in the process. It
// sends a mem.BufferSlice, an already encoded frame, as it is.
func Codec() encoding.CodecV2 { return codec{} }

type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case mem.BufferSlice:
		return m, nil
	case proto.Message:
		b, err := proto.Marshal(m)
		return slice(b), err
	case marshaler:
		b, err := m.Marshal()
		return slice(b), err
	}
	return nil, fmt.Errorf("wire: cannot encode %T", v)
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case proto.Message:
		b := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer b.Free()
		return proto.Unmarshal(b.ReadOnlyData(), m)
	case *[]byte:
		*m = data.Materialize()
		return nil
	case unmarshaler:
		// The generated code copies what it keeps, so the buffer can go back.
		b := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer b.Free()
		return m.Unmarshal(b.ReadOnlyData())
	}
	return fmt.Errorf("wire: cannot decode into %T", v)
}

func slice(b []byte) mem.BufferSlice { return mem.BufferSlice{mem.SliceBuffer(b)} }
