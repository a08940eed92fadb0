package etcd

import (
	"bytes"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// magic opens every protobuf value and request body of Kubernetes.
var magic = []byte{'k', '8', 's', 0}

// IsEnveloped tells whether b begins like an enveloped protobuf message.
func IsEnveloped(b []byte) bool { return bytes.HasPrefix(b, magic) }

var errEnvelope = errors.New("malformed protobuf envelope")

// Seal puts a message into upstream's envelope: the magic, then a
// runtime.Unknown with the type and the message. size is the message's size
// and write fills a buffer of that size.
func Seal(apiVersion, kind string, size int, write func([]byte) (int, error)) ([]byte, error) {
	typeSize := 2 + protowire.SizeBytes(len(apiVersion)) + protowire.SizeBytes(len(kind))
	b := make([]byte, 0, len(magic)+typeSize+size+24)
	b = append(b, magic...)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(typeSize))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, apiVersion)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendString(b, kind)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	start := len(b)
	b = b[:start+size]
	if _, err := write(b[start:]); err != nil {
		return nil, err
	}
	// Upstream writes the empty encoding and content type too.
	b = protowire.AppendTag(b, 3, protowire.BytesType)
	b = protowire.AppendString(b, "")
	b = protowire.AppendTag(b, 4, protowire.BytesType)
	return protowire.AppendString(b, ""), nil
}

// Open takes a message out of its envelope. Nothing is copied.
func Open(b []byte) (apiVersion, kind string, message []byte, err error) {
	if !IsEnveloped(b) {
		return "", "", nil, errEnvelope
	}
	err = each(b[len(magic):], func(n protowire.Number, data []byte) error {
		switch n {
		case 1:
			return each(data, func(n protowire.Number, data []byte) error {
				switch n {
				case 1:
					apiVersion = string(data)
				case 2:
					kind = string(data)
				}
				return nil
			})
		case 2:
			message = data
		}
		return nil
	})
	return apiVersion, kind, message, err
}

func each(b []byte, visit func(protowire.Number, []byte) error) error {
	for len(b) > 0 {
		n, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errEnvelope
		}
		b = b[size:]
		var data []byte
		if t == protowire.BytesType {
			data, size = protowire.ConsumeBytes(b)
		} else {
			size = protowire.ConsumeFieldValue(n, t, b)
		}
		if size < 0 {
			return errEnvelope
		}
		if err := visit(n, data); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}
