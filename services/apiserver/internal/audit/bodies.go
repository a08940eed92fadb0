package audit

import (
	"context"
	"encoding/json"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	k8saudit "k8s.io/apiserver/pkg/audit"
)

// Object notes what a client sent, and by it what the request is about if the
// path does not name it.
func Object(ctx context.Context, obj runtime.Object, kind schema.GroupVersionKind, resource schema.GroupVersionResource, subresource string) {
	r := from(ctx)
	if !r.at(auditinternal.LevelMetadata) {
		return
	}
	k8saudit.LogRequestObject(ctx, obj, kind.GroupVersion(), resource, subresource, encoding{kind: kind, skip: !r.at(auditinternal.LevelRequest)})
}

// Patch notes a patch that a client sent.
func Patch(ctx context.Context, patch []byte) {
	if r := from(ctx); r.at(auditinternal.LevelRequest) {
		r.events.LogRequestPatch(patch)
	}
}

// Status notes that an answer is a Status.
func Status(ctx context.Context, status *metav1.Status) {
	r := from(ctx)
	if !r.at(auditinternal.LevelMetadata) {
		return
	}
	var body *runtime.Unknown
	if r.at(auditinternal.LevelRequestResponse) {
		shown := *status
		shown.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		if raw, err := json.Marshal(&shown); err == nil {
			body = &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON}
		}
	}
	r.events.LogResponseObject(status, body)
}

// Answer notes an answer. It is encoded only if it is to be recorded.
func Answer(ctx context.Context, encode func() ([]byte, error)) {
	r := from(ctx)
	if !r.at(auditinternal.LevelRequestResponse) {
		return
	}
	raw, err := encode()
	if err != nil {
		return // the client hears of it
	}
	if r.config.OmitManagedFields {
		raw = withoutManagers(raw)
	}
	r.events.LogResponseObject(nil, &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON})
}

// withoutManagers leaves the managed fields out of an object, a list or a table.
func withoutManagers(raw []byte) []byte {
	var o map[string]any
	if json.Unmarshal(raw, &o) != nil {
		return raw
	}
	dropManagers(o)
	for _, field := range []string{"items", "rows"} {
		list, _ := o[field].([]any)
		for _, one := range list {
			item, _ := one.(map[string]any)
			if nested, ok := item["object"].(map[string]any); ok && field == "rows" {
				item = nested
			}
			dropManagers(item)
		}
	}
	out, err := json.Marshal(o)
	if err != nil {
		return raw
	}
	return out
}

func dropManagers(o map[string]any) {
	if meta, ok := o["metadata"].(map[string]any); ok {
		delete(meta, "managedFields")
	}
}

// encoding writes objects of one kind as JSON, in the form that the recorder
// wants an encoder.
type encoding struct {
	kind schema.GroupVersionKind
	// skip writes nothing: the body is not recorded.
	skip bool
}

func (e encoding) SupportedMediaTypes() []runtime.SerializerInfo {
	return []runtime.SerializerInfo{{MediaType: runtime.ContentTypeJSON, EncodesAsText: true}}
}

func (e encoding) EncoderForVersion(runtime.Encoder, runtime.GroupVersioner) runtime.Encoder {
	return e
}

func (e encoding) DecoderToVersion(d runtime.Decoder, _ runtime.GroupVersioner) runtime.Decoder {
	return d
}

func (e encoding) Identifier() runtime.Identifier { return "audit" }

func (e encoding) Encode(obj runtime.Object, w io.Writer) error {
	if e.skip {
		return nil
	}
	k := obj.GetObjectKind()
	had := k.GroupVersionKind()
	k.SetGroupVersionKind(e.kind)
	defer k.SetGroupVersionKind(had)
	return json.NewEncoder(w).Encode(obj)
}
