package openapi

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestSplice(t *testing.T) {
	added := map[string][]byte{"paths": []byte(`"/b":{}`), "definitions": []byte(`"B":1`), "parameters": nil}
	for name, c := range map[string]struct{ in, want string }{
		"members follow":  {`{"info":{"x":"}\"{"},"paths":{"/a":[{}, "]"]},"definitions":{"A":{}},"n":1}`, `{"info":{"x":"}\"{"},"paths":{"/a":[{},"]"],"/b":{}},"definitions":{"A":{},"B":1},"n":1}`},
		"empty sections":  {`{ "paths" : { } , "definitions":{} }`, `{"paths":{"/b":{}},"definitions":{"B":1}}`},
		"last is a value": {`{"definitions":{},"z":null,"paths":{"/a":"\\"}}`, ""},
		"no section":      {`{"paths":{}}`, ""},
		"no object":       {`[]`, ""},
		"nothing":         {``, ""},
		"broken":          {`{"paths"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := splice([]byte(c.in), added)
			if c.want == "" {
				if err == nil {
					t.Fatalf("spliced to %s", out)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			if err := json.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %s, want %s", out, c.want)
			}
		})
	}
}

func TestSectionsOfTheDocument(t *testing.T) {
	packed, err := docs.ReadFile("docs/v2.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	content, err := unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	got, err := sections(content)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]json.RawMessage{}
	if err := json.Unmarshal(content, &want); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%d sections, not %d", len(got), len(want))
	}
	for name, raw := range want {
		if s := got[name]; string(content[s.start:s.end]) != string(raw) {
			t.Errorf("section %s is not what it is", name)
		}
	}
}
