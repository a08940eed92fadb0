package custom

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"

	"coracle.local/services/apiserver/internal/golden"
)

func things(t *testing.T, o Options) (d *Definition, v1beta1, v1 *kinds.Kind) {
	t.Helper()
	s := golden.Load[suite](t, "testdata/versions.yaml")
	d = compiledOf(t, s.Definition, o)
	return d, kindOf(t, d, "v1beta1"), kindOf(t, d, "v1")
}

func TestObjectIsStoredAsJSON(t *testing.T) {
	_, _, k := things(t, Options{})
	o := k.New()
	if err := json.Unmarshal([]byte(`{"spec":{"n":9007199254740993,"f":1.0}}`), o); err != nil {
		t.Fatal(err)
	}
	const want = `{"apiVersion":"example.com/v1","kind":"Thing","spec":{"f":1,"n":9007199254740993}}`
	buffer := make([]byte, o.Size()+3)
	n, err := o.MarshalToSizedBuffer(buffer)
	if err != nil || string(buffer[3:]) != want || n != len(want) {
		t.Errorf("stored as %q, %v", buffer, err)
	}
	if _, err := o.MarshalToSizedBuffer(buffer[:5]); err == nil {
		t.Error("too small a buffer was enough")
	}
	if data, err := json.Marshal(o); err != nil || string(data) != `{"spec":{"f":1,"n":9007199254740993}}` {
		t.Errorf("shown as %s, %v", data, err)
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{Group: "a", Version: "b", Kind: "C"})
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if data, _ := json.Marshal(o); strings.Contains(string(data), "kind") {
		t.Errorf("an object without a kind is %s", data)
	}
}

func TestNoObject(t *testing.T) {
	for _, text := range []string{`[]`, `1`, `null`, `{`, ``} {
		if err := new(Object).UnmarshalJSON([]byte(text)); err == nil {
			t.Errorf("%s was taken for an object", text)
		}
	}
}

func TestCopyIsDeep(t *testing.T) {
	_, _, k := things(t, Options{})
	o := k.New().(*Object)
	o.Object["spec"] = map[string]any{"a": "x"}
	c := o.DeepCopyObject().(*Object)
	c.Object["spec"].(map[string]any)["a"] = "y"
	if o.Object["spec"].(map[string]any)["a"] != "x" {
		t.Error("a copy shares its tree")
	}
	if data, err := c.Marshal(); err != nil || !strings.Contains(string(data), `"kind":"Thing"`) {
		t.Errorf("a copy does not know its kind: %s, %v", data, err)
	}
}

// TestRestore reads what an upstream server may have left in etcd.
func TestRestore(t *testing.T) {
	_, v1beta1, v1 := things(t, Options{})
	for name, c := range map[string]struct {
		as           *kinds.Kind
		stored, want string // want begins with ! for an error
	}{
		"pruned and completed": {
			v1, `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"a","generation":2},"spec":{"x":1}}`,
			`{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"generation":2,"name":"a"},"spec":{"b":"two"}}`,
		},
		"no generation": {
			v1, `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"a"}}`,
			`{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"generation":1,"name":"a"}}`,
		},
		"bad metadata": {
			v1, `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"a","generation":1,"labels":{"a":"b","c":3},"x":"y"}}`,
			`{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"generation":1,"name":"a"}}`,
		},
		"stored in another version": {
			v1, `{"apiVersion":"example.com/v1beta1","kind":"Thing","metadata":{"name":"a","generation":1},"spec":{"old":"x","b":"y"}}`,
			`{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"generation":1,"name":"a"},"spec":{"a":"one"}}`,
		},
		"seen in another version": {
			v1beta1, `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"a","generation":1},"spec":{"a":"x"}}`,
			`{"apiVersion":"example.com/v1beta1","kind":"Thing","metadata":{"generation":1,"name":"a"},"spec":{"a":"x"}}`,
		},
		"a version that is gone": {
			v1, `{"apiVersion":"example.com/v0","kind":"Thing","metadata":{"name":"a"}}`,
			"!request to convert CR from an invalid group/version: example.com/v0",
		},
		"another kind": {v1, `{"apiVersion":"example.com/v1","kind":"Other","metadata":{"name":"a"}}`, "!a stored Other is no Thing"},
		"no JSON":      {v1, `k8s`, "!invalid character 'k' looking for beginning of value"},
	} {
		t.Run(name, func(t *testing.T) {
			o := c.as.New()
			err := o.Unmarshal([]byte(c.stored))
			if want, fails := strings.CutPrefix(c.want, "!"); fails {
				if err == nil || err.Error() != want {
					t.Errorf("got %v, want %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(o); string(got) != c.want {
				t.Errorf("restored to %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	d, v1beta1, v1 := things(t, Options{})
	if d.Storage() != v1 || v1beta1.StoredAs != v1 || v1.StoredAs != nil || v1beta1.StorageVersion != "v1" {
		t.Errorf("objects are stored as %v, those of v1beta1 as %v", d.Storage(), v1beta1.StoredAs)
	}
	if v1.Prefix != "example.com/things" || v1.Plural != "things" || v1.Singular != "thing" || !v1.Namespaced || len(v1.Subresources) > 0 {
		t.Errorf("the row is %+v", v1)
	}
	if d.Strategy(&kinds.Kind{}) != nil || d.Strategy(v1) == nil || d.Strategy(v1).Shared != nil || d.Strategy(v1beta1).Shared == nil {
		t.Error("strategies are not those of the versions")
	}
	list := v1.NewList().GetObjectKind().GroupVersionKind()
	if want := (schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "ThingList"}); list != want {
		t.Errorf("a list is a %v", list)
	}
	const deprecated = "example.com/v1beta1 Thing is deprecated; use example.com/v1 Thing"
	if got, none := d.Strategy(v1beta1).Deprecation, d.Strategy(v1).Deprecation; got != deprecated || none != "" {
		t.Errorf("v1beta1: %q, v1: %q", got, none)
	}
}

func TestScaleAndFields(t *testing.T) {
	s := golden.Load[suite](t, "testdata/subresources.yaml")
	d := compiledOf(t, s.Definition, Options{})
	k := kindOf(t, d, "")
	if want := []string{"status", "scale"}; !reflect.DeepEqual(k.Subresources, want) {
		t.Errorf("subresources are %v", k.Subresources)
	}
	o := k.New().(*Object)
	text := `{"spec":{"replicas":3,"color":"red"},"status":{"replicas":2,"selector":"a=b"}}`
	if err := json.Unmarshal([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	scale := d.Strategy(k).Scale
	selector, err := scale.Selector(o)
	if scale.Replicas(o) != 3 || scale.StatusReplicas(o) != 2 || selector != "a=b" || err != nil {
		t.Errorf("scale is %d of %d, %q, %v", scale.StatusReplicas(o), scale.Replicas(o), selector, err)
	}
	scale.SetReplicas(o, 7)
	if got := d.Strategy(k).Fields(o); !reflect.DeepEqual(map[string]string(got), map[string]string{"spec.color": "red", "spec.replicas": "7"}) {
		t.Errorf("fields are %v", got)
	}
	if got := d.Strategy(k).Fields(k.New()); !reflect.DeepEqual(map[string]string(got), map[string]string{"spec.color": "", "spec.replicas": ""}) {
		t.Errorf("fields of nothing are %v", got)
	}
}
