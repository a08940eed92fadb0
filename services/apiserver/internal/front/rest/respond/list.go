package respond

import (
	"bytes"
	"encoding/json"
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/wire"
	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/front/negotiate"
)

// Kinds are the kinds of a list and of its items.
type Kinds struct {
	Item, List schema.GroupVersionKind
	// Custom resources' lists say that they do not continue.
	Custom bool
}

// List answers with a list of items that are encoded already.
func List[T Encoded](p *Responder, w http.ResponseWriter, r *http.Request, o negotiate.Output, kind Kinds, meta metav1.ListMeta, items []T) error {
	audit.Answer(r.Context(), func() ([]byte, error) {
		var b bytes.Buffer
		err := jsonList(func(part []byte) { b.Write(part) }, kind, meta, items)
		return b.Bytes(), err
	})
	if o.Encoding == negotiate.Protobuf {
		return protobufList(p, w, r, kind.List, meta, items)
	}
	if o.Encoding == negotiate.JSON && !o.Pretty {
		s := p.stream(w, r, o.Encoding.MediaType())
		s.close(jsonList(s.write, kind, meta, items))
		return nil
	}
	// For people: the whole is rewritten at once.
	var b bytes.Buffer
	if err := jsonList(func(part []byte) { b.Write(part) }, kind, meta, items); err != nil {
		return err
	}
	content, err := text(o, bytes.TrimSpace(b.Bytes()))
	if err != nil {
		return err
	}
	p.Content(w, r, o.Encoding.MediaType(), http.StatusOK, content)
	return nil
}

// jsonList writes a list in parts. Items of a list do not say what they are.
func jsonList[T Encoded](write func([]byte), kind Kinds, meta metav1.ListMeta, items []T) error {
	head, err := listHead(kind, meta)
	if err != nil {
		return err
	}
	write(head[:len(head)-1])
	write([]byte(`,"items":[`))
	what := []byte(`{"kind":"` + kind.Item.Kind + `","apiVersion":"` + kind.Item.GroupVersion().String() + `",`)
	first, next := []byte("{"), []byte(",{")
	for n, item := range items {
		raw, err := item.JSON()
		if err != nil {
			return err
		}
		separator := next
		if n == 0 {
			separator = first
		}
		write(separator)
		if rest, ok := bytes.CutPrefix(raw, what); ok {
			write(rest)
		} else {
			write(raw[1:])
		}
	}
	write([]byte("]}\n"))
	return nil
}

func listHead(kind Kinds, meta metav1.ListMeta) ([]byte, error) {
	t := metav1.TypeMeta{Kind: kind.List.Kind, APIVersion: kind.List.GroupVersion().String()}
	if kind.Custom {
		return json.Marshal(struct {
			metav1.TypeMeta
			Meta struct {
				Continue           string `json:"continue"`
				RemainingItemCount *int64 `json:"remainingItemCount,omitempty"`
				ResourceVersion    string `json:"resourceVersion"`
			} `json:"metadata"`
		}{t, struct {
			Continue           string `json:"continue"`
			RemainingItemCount *int64 `json:"remainingItemCount,omitempty"`
			ResourceVersion    string `json:"resourceVersion"`
		}{meta.Continue, meta.RemainingItemCount, meta.ResourceVersion}})
	}
	return json.Marshal(struct {
		metav1.TypeMeta
		metav1.ListMeta `json:"metadata"`
	}{t, meta})
}

// protobufList sends a list's message in its envelope. The sizes of all items
// are known beforehand, so nothing is assembled in memory.
func protobufList[T Encoded](p *Responder, w http.ResponseWriter, r *http.Request, kind schema.GroupVersionKind, meta metav1.ListMeta, items []T) error {
	raw, err := meta.Marshal()
	if err != nil {
		return err
	}
	head := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), raw)
	size := len(head)
	for _, item := range items {
		size += protowire.SizeTag(2) + protowire.SizeBytes(len(item.Frame()))
	}
	s := p.stream(w, r, negotiate.Protobuf.MediaType())
	s.write(EnvelopeHead(nil, kind, size))
	s.write(head)
	var before [16]byte
	for _, item := range items {
		frame := item.Frame()
		s.write(wire.ListItem(before[:0], len(frame)))
		s.write(frame)
	}
	s.write([]byte(EnvelopeTail))
	s.close(nil)
	return nil
}
