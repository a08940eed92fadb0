// Package respond writes answers in the encoding that was negotiated. What the
// cache has encoded already is sent as it is; lists are strung together from
// their items' encodings while they are sent.
package respond

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/front/negotiate"
)

// Responder writes answers. It keeps buffers between requests; use New, and
// one for a server.
type Responder struct {
	buffers sync.Pool // of *[]byte, chunk long
	zippers sync.Pool // of *gzip.Writer
}

// New returns a responder.
func New() *Responder { return &Responder{} }

// Encoded is an object that is encoded already: the cache's items are.
type Encoded interface {
	// JSON includes apiVersion and kind.
	JSON() ([]byte, error)
	// Frame is the protobuf message.
	Frame() []byte
}

// Object answers with an object, as the kind it is.
func (p *Responder) Object(w http.ResponseWriter, r *http.Request, o negotiate.Output, code int, kind schema.GroupVersionKind, object runtime.Object) error {
	if status, ok := object.(*metav1.Status); ok {
		audit.Status(r.Context(), status)
	} else {
		audit.Answer(r.Context(), func() ([]byte, error) { return Marshal(negotiate.Output{}, kind, object) })
	}
	content, err := Marshal(o, kind, object)
	if err != nil {
		return err
	}
	p.Content(w, r, o.Encoding.MediaType(), code, content)
	return nil
}

// Item answers with an object of the cache.
func (p *Responder) Item(w http.ResponseWriter, r *http.Request, o negotiate.Output, code int, kind schema.GroupVersionKind, item Encoded) error {
	audit.Answer(r.Context(), item.JSON)
	var content []byte
	if o.Encoding == negotiate.Protobuf {
		content = envelope(kind, item.Frame())
	} else {
		raw, err := item.JSON()
		if err != nil {
			return err
		}
		if content, err = text(o, raw); err != nil {
			return err
		}
	}
	p.Content(w, r, o.Encoding.MediaType(), code, content)
	return nil
}

// Marshal encodes an object with its apiVersion and kind.
func Marshal(o negotiate.Output, kind schema.GroupVersionKind, object runtime.Object) ([]byte, error) {
	if o.Encoding == negotiate.Protobuf {
		message, ok := object.(interface{ Marshal() ([]byte, error) })
		if !ok {
			return nil, negotiate.NotAcceptable(fmt.Sprintf("object %T does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message", object))
		}
		object.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		raw, err := message.Marshal()
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", kind.Kind, err)
		}
		return envelope(kind, raw), nil
	}
	object.GetObjectKind().SetGroupVersionKind(kind)
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind.Kind, err)
	}
	return text(o, raw)
}

// text turns compact JSON into the form that is asked for.
func text(o negotiate.Output, raw []byte) ([]byte, error) {
	switch {
	case o.Encoding == negotiate.YAML:
		return yaml.JSONToYAML(raw)
	case o.Pretty:
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return nil, err
		}
		return b.Bytes(), nil
	}
	out := make([]byte, 0, len(raw)+1)
	return append(append(out, raw...), '\n'), nil
}

// envelope wraps a message as clients of protobuf expect it: a prefix and a
// runtime.Unknown that says what it is.
func envelope(kind schema.GroupVersionKind, message []byte) []byte {
	head := EnvelopeHead(nil, kind, len(message))
	out := make([]byte, 0, len(head)+len(message)+len(EnvelopeTail))
	return append(append(append(out, head...), message...), EnvelopeTail...)
}

// EnvelopeHead appends what precedes a message of a size in its envelope.
func EnvelopeHead(b []byte, kind schema.GroupVersionKind, size int) []byte {
	apiVersion := kind.GroupVersion().String()
	meta := protowire.SizeTag(1) + protowire.SizeBytes(len(apiVersion)) + protowire.SizeTag(2) + protowire.SizeBytes(len(kind.Kind))
	b = append(b, "k8s\x00"...)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(meta))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, apiVersion)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendString(b, kind.Kind)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(size))
}

// EnvelopeTail is what follows the message: an empty content encoding and an
// empty content type, which upstream always writes.
const EnvelopeTail = "\x1a\x00\x22\x00"

// Content sends a whole answer.
func (p *Responder) Content(w http.ResponseWriter, r *http.Request, mediaType string, code int, content []byte) {
	w.Header().Set("Content-Type", mediaType)
	if len(content) > chunk && takesGzip(r) {
		p.zipped(w, code, content)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(code)
	// An error here is the client's going away.
	_, _ = w.Write(content)
}

// takesGzip tells whether the client takes compressed answers.
func takesGzip(r *http.Request) bool {
	for _, coding := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		name, _, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" {
			return true
		}
	}
	return false
}
