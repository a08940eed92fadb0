package patches

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"
)

// strategic applies a patch whose lists are merged by the rules that the
// struct's tags give.
func (p *Patch) strategic(current runtime.Object) (runtime.Object, []string, error) {
	before, err := runtime.DefaultUnstructuredConverter.ToUnstructured(current)
	if err != nil {
		return nil, nil, fmt.Errorf("take %s apart: %w", p.Kind.Kind, err)
	}
	patch := map[string]any{}
	var wrong []error
	if p.looks() {
		wrong, err = kjson.UnmarshalStrict(p.Data, &patch)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(p.Data, &patch)
	}
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	patched := p.New()
	after, err := strategicpatch.StrategicMergeMapPatch(before, patch, patched)
	if err != nil {
		return nil, nil, refused(err)
	}
	shown := fmt.Sprintf("%+v", patch)
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(after, patched, p.looks())
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		wrong = append(wrong, strict.Errors()...)
	} else if err != nil {
		return nil, nil, invalid(shown, err)
	}
	patched.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return p.judge(patched, wrong, shown)
}

func refused(err error) error {
	for _, bad := range []error{
		mergepatch.ErrBadJSONDoc, mergepatch.ErrBadPatchFormatForPrimitiveList, mergepatch.ErrBadPatchFormatForRetainKeys,
		mergepatch.ErrBadPatchFormatForSetElementOrderList, mergepatch.ErrUnsupportedStrategicMergePatchFormat,
	} {
		if errors.Is(err, bad) {
			return apierrors.NewBadRequest(err.Error())
		}
	}
	if errors.Is(err, mergepatch.ErrNoListOfLists) || errors.Is(err, mergepatch.ErrPatchContentNotMatchRetainKeys) {
		return unprocessable(err)
	}
	return err
}

// SetsVersion tells whether the patch itself names the version of the object
// that it is for. If not, it holds for whatever version there is.
func (p *Patch) SetsVersion() bool {
	if p.Type == types.JSONPatchType {
		var operations []jsonPatchOp
		if kjson.UnmarshalCaseSensitivePreserveInts(p.Data, &operations) != nil {
			return false
		}
		for _, o := range operations {
			if o.Path == "/metadata/resourceVersion" && o.Op != "test" {
				return true
			}
		}
		return false
	}
	var probe struct {
		Metadata struct {
			ResourceVersion *string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	return kjson.UnmarshalCaseSensitivePreserveInts(p.Data, &probe) == nil && probe.Metadata.ResourceVersion != nil
}
