package conversion

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// hook is a webhook in process: answer gets the request and the converted
// object that a good webhook would return.
type hook func(review, object map[string]any) (answer map[string]any, err error)

func (h hook) Post(_ context.Context, _ *apiextensionsv1.WebhookClientConfig, request, response any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	var review map[string]any
	if err := json.Unmarshal(data, &review); err != nil {
		return err
	}
	asked := review["request"].(map[string]any)
	object := asked["objects"].([]any)[0].(map[string]any)
	object["apiVersion"] = asked["desiredAPIVersion"]
	object["converted"] = true
	answer, err := h(review, object)
	if err != nil {
		return err
	}
	if data, err = json.Marshal(answer); err != nil {
		return err
	}
	return json.Unmarshal(data, response)
}

func good(review, object map[string]any) map[string]any {
	return map[string]any{
		"apiVersion": review["apiVersion"], "kind": "ConversionReview",
		"response": map[string]any{
			"uid": review["request"].(map[string]any)["uid"], "result": map[string]any{"status": "Success"}, "convertedObjects": []any{object},
		},
	}
}

var v2 = schema.GroupVersionKind{Group: "example.com", Version: "v2", Kind: "Foo"}

func object() map[string]any {
	return map[string]any{
		"apiVersion": "example.com/v1", "kind": "Foo", "spec": int64(1),
		"metadata": map[string]any{"name": "a", "uid": "u", "labels": map[string]any{"a": "b"}, "annotations": map[string]any{"c": "d"}},
	}
}

func TestConvert(t *testing.T) {
	in, versions := object(), []string{"v7", "v1"}
	meta := func(o map[string]any) map[string]any { return o["metadata"].(map[string]any) }
	var sent map[string]any
	out, err := Convert(context.Background(), hook(func(review, o map[string]any) (map[string]any, error) {
		sent = review
		meta(o)["labels"] = map[string]any{"x": "y"}
		delete(meta(o), "annotations")
		meta(o)["finalizers"] = []any{"mine"}
		return good(review, o), nil
	}), &apiextensionsv1.WebhookConversion{ConversionReviewVersions: versions}, in, v2)
	if err != nil {
		t.Fatal(err)
	}
	if sent["apiVersion"] != "apiextensions.k8s.io/v1" || sent["kind"] != "ConversionReview" {
		t.Errorf("the webhook was sent a %v of %v", sent["kind"], sent["apiVersion"])
	}
	want := object()
	want["apiVersion"], want["converted"] = "example.com/v2", true
	meta(want)["labels"] = map[string]any{"x": "y"}
	delete(meta(want), "annotations")
	if !reflect.DeepEqual(out, want) {
		t.Errorf("converted to %v", out)
	}
	if !reflect.DeepEqual(in, object()) {
		t.Errorf("what was converted is now %v", in)
	}
}

func TestConvertNothing(t *testing.T) {
	out, err := Convert(context.Background(), nil, nil, object(), schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Foo"})
	if err != nil || !reflect.DeepEqual(out, object()) {
		t.Errorf("an object of the version wanted became %v, %v", out, err)
	}
}

func TestBadAnswers(t *testing.T) {
	const failed = "conversion webhook for example.com/v1, Kind=Foo failed: "
	const invalid = "conversion webhook for example.com/v1, Kind=Foo returned invalid object"
	response := func(answer map[string]any) map[string]any { return answer["response"].(map[string]any) }
	for name, c := range map[string]struct {
		spoil func(answer, object map[string]any)
		want  string
	}{
		"another kind of answer": {func(a, _ map[string]any) { a["kind"] = "Other" }, failed + "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=Other"},
		"no response":            {func(a, _ map[string]any) { delete(a, "response") }, failed + "no response provided"},
		"another request's":      {func(a, _ map[string]any) { response(a)["uid"] = "x" }, failed + `expected response.uid="`},
		"refused":                {func(a, _ map[string]any) { response(a)["result"] = map[string]any{"message": "no way"} }, failed + "no way"},
		"refused without a word": {func(a, _ map[string]any) { response(a)["result"] = map[string]any{"status": "Failure"} }, failed + "response.result.status was 'Failure', not 'Success'"},
		"no objects":             {func(a, _ map[string]any) { response(a)["convertedObjects"] = []any{} }, "conversion webhook for example.com/v1, Kind=Foo returned 0 objects, expected 1"},
		"another version":        {func(_, o map[string]any) { o["apiVersion"] = "example.com/v3" }, invalid + " at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)"},
		"another object's kind":  {func(_, o map[string]any) { o["kind"] = "Bar" }, invalid + " at index 0: invalid kind (expected Foo, received Bar)"},
		"another name":           {func(_, o map[string]any) { o["metadata"].(map[string]any)["name"] = "b" }, invalid + ": must have the same name: a != b"},
		"another uid":            {func(_, o map[string]any) { o["metadata"].(map[string]any)["uid"] = "v" }, invalid + ": must have the same UID: u != v"},
		"another namespace":      {func(_, o map[string]any) { o["metadata"].(map[string]any)["namespace"] = "n" }, invalid + ": must have the same namespace:  != n"},
		"no metadata":            {func(_, o map[string]any) { delete(o, "metadata") }, invalid + ": must have the same name: a != "},
		"numbers for labels": {
			func(_, o map[string]any) { o["metadata"].(map[string]any)["labels"] = map[string]any{"a": 1} },
			"conversion webhook for example.com/v1, Kind=Foo returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
		},
		"a list for labels": {
			func(_, o map[string]any) { o["metadata"].(map[string]any)["labels"] = []any{} },
			"conversion webhook for example.com/v1, Kind=Foo returned invalid metadata: invalid metadata.labels of type []interface {} in converted object",
		},
		"bad labels": {
			func(_, o map[string]any) { o["metadata"].(map[string]any)["labels"] = map[string]any{"a b": "c"} },
			"conversion webhook for example.com/v1, Kind=Foo returned invalid metadata: metadata.labels: Invalid value: \"a b\": name part must consist of",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Convert(context.Background(), hook(func(review, o map[string]any) (map[string]any, error) {
				answer := good(review, o)
				c.spoil(answer, o)
				return answer, nil
			}), &apiextensionsv1.WebhookConversion{ConversionReviewVersions: []string{"v1"}}, object(), v2)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	broken := hook(func(map[string]any, map[string]any) (map[string]any, error) { return nil, errors.New("refused") })
	for name, c := range map[string]struct {
		hooks    Hooks
		versions []string
		want     string
	}{
		"refused":    {broken, []string{"v1"}, "conversion webhook for example.com/v1, Kind=Foo failed: refused"},
		"no version": {broken, []string{"v9"}, "no supported conversion review versions"},
		"no caller":  {nil, []string{"v1"}, "conversion webhook for example.com/v1, Kind=Foo failed: no webhook can be called"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Convert(context.Background(), c.hooks, &apiextensionsv1.WebhookConversion{ConversionReviewVersions: c.versions}, object(), v2)
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestOlderReview: the first version of reviews had no UID to compare.
func TestOlderReview(t *testing.T) {
	_, err := Convert(context.Background(), hook(func(review, o map[string]any) (map[string]any, error) {
		answer := good(review, o)
		delete(answer, "apiVersion")
		delete(answer["response"].(map[string]any), "uid")
		return answer, nil
	}), &apiextensionsv1.WebhookConversion{ConversionReviewVersions: []string{"v1beta1"}}, object(), v2)
	if err != nil {
		t.Error(err)
	}
}
