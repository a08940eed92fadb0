package custom

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"coracle.local/services/apiserver/internal/golden"
)

// swap is a webhook that calls a in v1beta1 what is b in v1.
type swap struct{ broken bool }

func (s *swap) Post(ctx context.Context, _ *apiextensionsv1.WebhookClientConfig, request, response any) error {
	if _, bounded := ctx.Deadline(); !bounded || s.broken {
		return errors.New("not now")
	}
	in, out := request.(*apiextensionsv1.ConversionReview), response.(*apiextensionsv1.ConversionReview)
	data, err := json.Marshal(in.Request.Objects[0])
	if err != nil {
		return err
	}
	var o map[string]any
	if err := json.Unmarshal(data, &o); err != nil {
		return err
	}
	spec := o["spec"].(map[string]any)
	from, to := "a", "b"
	if in.Request.DesiredAPIVersion == "example.com/v1beta1" {
		from, to = to, from
	}
	spec[to] = spec[from]
	delete(spec, from)
	spec["unheard"] = "of"
	o["apiVersion"] = in.Request.DesiredAPIVersion
	if data, err = json.Marshal(o); err != nil {
		return err
	}
	out.TypeMeta = in.TypeMeta
	out.Response = &apiextensionsv1.ConversionResponse{UID: in.Request.UID}
	out.Response.Result.Status = "Success"
	out.Response.ConvertedObjects = in.Request.Objects
	out.Response.ConvertedObjects[0].Raw = data
	return nil
}

func TestConversionByWebhook(t *testing.T) {
	s := golden.Load[suite](t, "testdata/versions.yaml")
	url := "https://localhost/convert"
	s.Definition.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{
			ConversionReviewVersions: []string{"v1"}, ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &url},
		},
	}
	hook := &swap{}
	d := compiledOf(t, s.Definition, Options{Hooks: hook})
	old := kindOf(t, d, "v1beta1")
	o, _, err := d.Decode(old, []byte(`{"apiVersion":"example.com/v1beta1","kind":"Thing","metadata":{"name":"x"},"spec":{"a":"value"}}`), true)
	if err != nil {
		t.Fatal(err)
	}
	shared := d.Strategy(old).Shared
	stored, err := shared.ToStored(o)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"x"},"spec":{"b":"value"}}`
	data, err := stored.Marshal()
	if err != nil || string(data) != want {
		t.Errorf("stored as %s, %v", data, err)
	}
	shown, err := shared.FromStored(stored)
	if err != nil {
		t.Fatal(err)
	}
	if got := shown.(*Object).Object["spec"].(map[string]any)["a"]; got != "value" || shown.(*Object).GetAPIVersion() != "example.com/v1beta1" {
		t.Errorf("shown as %v", shown.(*Object).Object)
	}
	if o.Object["spec"].(map[string]any)["a"] != "value" {
		t.Error("converting an object changed it")
	}

	hook.broken = true
	const refused = "conversion webhook for example.com/v1, Kind=Thing failed: not now"
	if _, err := shared.FromStored(stored); err == nil || err.Error() != refused {
		t.Errorf("got %v, want %s", err, refused)
	}
	if err := old.New().Unmarshal(data); err == nil || err.Error() != refused {
		t.Errorf("reading what is stored: got %v, want %s", err, refused)
	}
}

func TestTypes(t *testing.T) {
	s := golden.Load[suite](t, "testdata/values.yaml")
	d := compiledOf(t, s.Definition, Options{})
	types, err := d.Types(d.Storage())
	if err != nil {
		t.Fatal(err)
	}
	typed := func(spec string) error {
		o := &Object{}
		if err := o.UnmarshalJSON([]byte(`{"apiVersion":"example.com/v1","kind":"Value","metadata":{"name":"x","labels":{"a":"b"}},"spec":` + spec + `}`)); err != nil {
			t.Fatal(err)
		}
		v, err := types.ObjectToTyped(o)
		if err != nil {
			return err
		}
		_, err = types.TypedToObject(v)
		return err
	}
	for spec, want := range map[string]string{
		`{"size":1,"free":{"any":[1]},"embedded":{"apiVersion":"v1","kind":"X","metadata":{"name":"y"},"z":1}}`: "",
		`{"foo":1}`:                             ".spec.foo: field not declared in schema",
		`{"keyed":[{"name":"a"},{"name":"a"}]}`: `.spec.keyed: duplicate entries for key [name="a",port=80]`,
		`{"size":"x"}`:                          ".spec.size: expected numeric (int or float), got string",
	} {
		if err := typed(spec); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: got %v, want %q", spec, err, want)
		}
	}
	if _, err := types.ObjectToTyped(&Object{}); err == nil {
		t.Error("an object of no kind has a type")
	}
}

// TestRulesSeeTheKindOfBoth: objects on their way through the registry do not
// say what they are, and a rule may ask both versions of one.
func TestRulesSeeTheKindOfBoth(t *testing.T) {
	s := golden.Load[suite](t, "testdata/versions.yaml")
	for i := range s.Definition.Spec.Versions {
		s.Definition.Spec.Versions[i].Schema.OpenAPIV3Schema.XValidations = apiextensionsv1.ValidationRules{{Rule: "self.kind == oldSelf.kind && self.apiVersion == oldSelf.apiVersion"}}
	}
	d := compiledOf(t, s.Definition, Options{})
	k := kindOf(t, d, "v1")
	o, old := k.New().(*Object), k.New().(*Object)
	for _, x := range []*Object{o, old} {
		x.SetName("a")
		x.SetResourceVersion("1")
	}
	o.Object["spec"] = map[string]any{"a": "x"}
	if errs := d.Strategy(k).ValidateUpdate(o, old); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
	if old.GetKind() != "" {
		t.Error("validation changed the old object")
	}
}
