// Package patches applies the patches of clients to objects: JSON patches,
// merge patches and strategic merge patches, with upstream's judgement of what
// is wrong with them.
package patches

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"coracle.local/services/apiserver/internal/front/body"
	"coracle.local/services/apiserver/internal/front/negotiate"
)

// maxOperations bounds a JSON patch, as upstream does.
const maxOperations = 10000

// Patch is one patch of a client.
type Patch struct {
	Type types.PatchType
	Data []byte
	// Kind is what is patched, New makes an empty one.
	Kind schema.GroupVersionKind
	New  func() runtime.Object
	// Read makes the way to read JSON into an object that reads itself, a
	// custom resource; nil for others.
	Read func(into runtime.Object) func(data []byte, strict bool) (wrong []error, err error)
	// Strictness says what becomes of unknown fields.
	Strictness body.Strictness
}

// TypeOf reads a patch's type from the request's content type, or returns an
// UnsupportedMediaType error.
func TypeOf(r *http.Request) (types.PatchType, error) {
	contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch t := types.PatchType(contentType); t {
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyYAMLPatchType:
		return t, nil
	}
	return "", negotiate.UnsupportedPatch()
}

// Check refuses what is no JSON at all, before anything is read or written.
func (p *Patch) Check() error {
	if p.Type != types.ApplyYAMLPatchType && !json.Valid(p.Data) {
		return apierrors.NewBadRequest("invalid JSON patch")
	}
	return nil
}

// Apply makes the patched object of the current one, which stays as it is. The
// result has no apiVersion and kind.
func (p *Patch) Apply(current runtime.Object) (patched runtime.Object, warnings []string, err error) {
	if p.Type == types.StrategicMergePatchType {
		return p.strategic(current)
	}
	current.GetObjectKind().SetGroupVersionKind(p.Kind)
	before, err := json.Marshal(current)
	current.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", p.Kind.Kind, err)
	}
	apply := p.merge
	if p.Type == types.JSONPatchType {
		apply = p.operations
	}
	after, wrong, err := apply(before)
	if err != nil {
		return nil, nil, err
	}
	patched = p.New()
	want := body.Expected{Kind: p.Kind}
	var is schema.GroupVersionKind
	if p.Read != nil {
		want.Read = p.Read(patched)
		want.Is = func(have schema.GroupVersionKind) { is = have }
	}
	more, err := body.Object(after, want, patched, p.looks())
	if err != nil {
		return nil, nil, invalid(string(after), err)
	}
	if o, ok := patched.(metav1.Object); ok && want.Read != nil {
		if err := body.CheckPatched(p.Kind, is, o.GetName()); err != nil {
			return nil, nil, err
		}
	}
	return p.judge(patched, append(wrong, more...), string(after))
}

// looks tells whether unknown and duplicate fields are looked for.
func (p *Patch) looks() bool { return p.Strictness != body.Ignore }

// judge makes warnings or an error of the fields that were wrong.
func (p *Patch) judge(patched runtime.Object, wrong []error, shown string) (runtime.Object, []string, error) {
	if len(wrong) == 0 {
		return patched, nil, nil
	}
	if p.Strictness == body.Strict {
		return nil, nil, invalid(shown, runtime.NewStrictDecodingError(wrong))
	}
	return patched, body.Warnings(wrong), nil
}

func invalid(shown string, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), shown, err.Error())})
}

// jsonPatchOp is an operation of a JSON patch; only its fields' names matter.
type jsonPatchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

func (p *Patch) operations(before []byte) (after []byte, wrong []error, err error) {
	if p.looks() {
		var probe []jsonPatchOp
		if wrong, err = kjson.UnmarshalStrict(p.Data, &probe); err != nil {
			// Upstream's messages name its own type.
			text := strings.ReplaceAll(err.Error(), "patches.jsonPatchOp", "handlers.jsonPatchOp")
			return nil, nil, apierrors.NewBadRequest("error decoding patch: " + text)
		}
		for i, w := range wrong {
			wrong[i] = fmt.Errorf("json patch %w", w)
		}
	}
	operations, err := jsonpatch.DecodePatch(p.Data)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if len(operations) > maxOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"The allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(operations)))
	}
	if after, err = operations.Apply(before); err != nil {
		return nil, nil, unprocessable(err)
	}
	return after, wrong, nil
}

func unprocessable(err error) error {
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}

func (p *Patch) merge(before []byte) (after []byte, wrong []error, err error) {
	if p.looks() {
		if wrong, err = kjson.UnmarshalStrict(p.Data, &map[string]any{}); err != nil {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
	}
	if after, err = jsonpatch.MergePatch(before, p.Data); err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return after, wrong, nil
}
