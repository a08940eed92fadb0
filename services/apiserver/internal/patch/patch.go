// Package patch applies JSON, merge and strategic merge patches to objects of
// the table, whatever front they came by.
package patch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"coracle.local/libs/kinds"
)

// maxOperations bounds a JSON patch, as upstream does.
const maxOperations = 10000

// New reads a patch and returns the change that it makes of an object of a
// kind. The change modifies nothing of what it is given.
func New(k *kinds.Kind, t types.PatchType, data []byte) (func(current kinds.Object) (kinds.Object, error), error) {
	apply, err := of(k, t, data)
	if err != nil {
		return nil, err
	}
	return func(current kinds.Object) (kinds.Object, error) {
		current.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
		before, err := json.Marshal(current)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", current.GetName(), err)
		}
		after, err := apply(before)
		if err != nil {
			return nil, err
		}
		return Decode(k, after)
	}, nil
}

// Decode reads a patched object; what the patch got wrong is an Invalid error.
func Decode(k *kinds.Kind, patched []byte) (kinds.Object, error) {
	obj := k.New()
	if err := kjson.UnmarshalCaseSensitivePreserveInts(patched, obj); err != nil {
		return nil, apierrors.NewInvalid(k.GroupVersionKind().GroupKind(), "", field.ErrorList{
			field.Invalid(field.NewPath("patch"), string(patched), err.Error()),
		})
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return obj, nil
}

func of(k *kinds.Kind, t types.PatchType, data []byte) (func([]byte) ([]byte, error), error) {
	switch t {
	case types.JSONPatchType:
		return jsonPatch(data)
	case types.MergePatchType:
		return func(before []byte) ([]byte, error) {
			after, err := jsonpatch.MergePatch(before, data)
			if err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
			return after, nil
		}, nil
	case types.StrategicMergePatchType:
		return strategic(k, data)
	}
	return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s, %s, %s",
			types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType),
	}}
}

func jsonPatch(data []byte) (func([]byte) ([]byte, error), error) {
	p, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if len(p) > maxOperations {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"The allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(p)))
	}
	return func(before []byte) ([]byte, error) {
		after, err := p.Apply(before)
		if err != nil {
			return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
		}
		return after, nil
	}, nil
}

func strategic(k *kinds.Kind, data []byte) (func([]byte) ([]byte, error), error) {
	var p map[string]any
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	return func(before []byte) ([]byte, error) {
		after, err := strategicpatch.StrategicMergePatch(before, data, k.New())
		switch {
		case err == nil:
			return after, nil
		case errors.Is(err, mergepatch.ErrBadJSONDoc), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList),
			errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys), errors.Is(err, mergepatch.ErrBadPatchFormatForSetElementOrderList),
			errors.Is(err, mergepatch.ErrUnsupportedStrategicMergePatchFormat):
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}, nil
}
