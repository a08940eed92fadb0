// Package conversion has custom resources converted between their versions by
// the webhook of their definition.
package conversion

import (
	"context"
	"errors"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// Hooks calls webhooks.
type Hooks interface {
	Post(ctx context.Context, client *apiextensionsv1.WebhookClientConfig, request, response any) error
}

// Convert returns tree as the webhook makes it an object of another version.
// It does not modify tree.
func Convert(ctx context.Context, hooks Hooks, hook *apiextensionsv1.WebhookConversion, tree map[string]any, to schema.GroupVersionKind) (map[string]any, error) {
	in := &unstructured.Unstructured{Object: tree}
	from := in.GroupVersionKind()
	if from == to {
		return tree, nil
	}
	r, err := newReview(hook.ConversionReviewVersions, in, to.GroupVersion().String())
	if err != nil {
		return nil, err
	}
	if hooks == nil {
		return nil, fmt.Errorf("conversion webhook for %v failed: no webhook can be called", from)
	}
	answer := r.answer()
	if err := hooks.Post(ctx, hook.ClientConfig, r.request, answer); err != nil {
		return nil, fmt.Errorf("conversion webhook for %v failed: %w", from, err)
	}
	converted, err := r.converted(answer)
	if err != nil {
		return nil, fmt.Errorf("conversion webhook for %v failed: %w", from, err)
	}
	if len(converted) != 1 {
		return nil, fmt.Errorf("conversion webhook for %v returned %d objects, expected 1", from, len(converted))
	}
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(converted[0].Raw); err != nil {
		return nil, err
	}
	return out.Object, check(in, out, from, to)
}

// check compares what came back with what was sent and gives it back the
// metadata that a webhook may not change.
func check(in, out *unstructured.Unstructured, from, to schema.GroupVersionKind) error {
	got := out.GroupVersionKind()
	if got.GroupVersion() != to.GroupVersion() {
		return fmt.Errorf("conversion webhook for %v returned invalid object at index 0: invalid groupVersion (expected %v, received %v)", from, to.GroupVersion(), got.GroupVersion())
	}
	if got.Kind != from.Kind {
		return fmt.Errorf("conversion webhook for %v returned invalid object at index 0: invalid kind (expected %v, received %v)", from, from.Kind, got.Kind)
	}
	if err := same(in, out); err != nil {
		return fmt.Errorf("conversion webhook for %v returned invalid object: %w", from, err)
	}
	if err := restoreMeta(in.Object, out.Object); err != nil {
		return fmt.Errorf("conversion webhook for %v returned invalid metadata: %w", from, err)
	}
	return nil
}

// review is a question to a webhook, in a version that both sides speak.
type review struct {
	uid     string
	version string
	request any
}

func newReview(versions []string, in *unstructured.Unstructured, apiVersion string) (*review, error) {
	uid := uuid.NewUUID()
	for _, version := range versions {
		// v1beta1 has the same fields.
		if version != "v1" && version != "v1beta1" {
			continue
		}
		request := &apiextensionsv1.ConversionReview{
			Request: &apiextensionsv1.ConversionRequest{
				UID: uid, DesiredAPIVersion: apiVersion, Objects: []runtime.RawExtension{{Object: in}},
			},
			Response: &apiextensionsv1.ConversionResponse{},
		}
		r := &review{uid: string(uid), version: version, request: request}
		request.SetGroupVersionKind(r.kind())
		return r, nil
	}
	return nil, errors.New("no supported conversion review versions")
}

func (r *review) kind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: apiextensionsv1.GroupName, Version: r.version, Kind: "ConversionReview"}
}

func (*review) answer() *apiextensionsv1.ConversionReview { return &apiextensionsv1.ConversionReview{} }

// converted takes the objects out of an answer.
func (r *review) converted(answer *apiextensionsv1.ConversionReview) ([]runtime.RawExtension, error) {
	strict := r.version == "v1"
	if got := answer.GroupVersionKind(); strict && got != r.kind() {
		return nil, fmt.Errorf("expected webhook response of %v, got %v", r.kind(), got)
	}
	response := answer.Response
	if response == nil {
		return nil, errors.New("no response provided")
	}
	if strict && string(response.UID) != r.uid {
		return nil, fmt.Errorf("expected response.uid=%q, got %q", r.uid, response.UID)
	}
	if response.Result.Status != "Success" {
		if response.Result.Message != "" {
			return nil, errors.New(response.Result.Message)
		}
		return nil, fmt.Errorf("response.result.status was '%s', not 'Success'", response.Result.Status)
	}
	return response.ConvertedObjects, nil
}
