package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"coracle.local/services/apiserver/internal/custom/publish"
)

// each makes both encodings of a document once, when first asked for.
func each(build func(extension string) ([]byte, error)) func(string) ([]byte, error) {
	inJSON := sync.OnceValues(func() ([]byte, error) { return build(asJSON) })
	inProto := sync.OnceValues(func() ([]byte, error) { return build(asProto) })
	return func(extension string) ([]byte, error) {
		if extension == asProto {
			return inProto()
		}
		return inJSON()
	}
}

// base are the schemas of built-in types that custom resources use. They are
// picked out of the document of apps/v1, which has them all and much else.
var base = sync.OnceValues(func() (publish.Base, error) {
	content, err := docs.ReadFile("docs/v3/apis_apps_v1.json.gz")
	if err != nil {
		return nil, err
	}
	if content, err = unpack(content); err != nil {
		return nil, err
	}
	for _, name := range []string{"components", "schemas"} {
		where, err := sections(content)
		if err != nil {
			return nil, err
		}
		content = content[where[name].start:where[name].end]
	}
	where, err := sections(content)
	if err != nil {
		return nil, err
	}
	return publish.NewBase(func(name string) (*spec.Schema, error) {
		s := &spec.Schema{}
		return s, json.Unmarshal(content[where[name].start:where[name].end], s)
	})
})

func build3(sources []Source, version, extension string) ([]byte, error) {
	b, err := base()
	if err != nil {
		return nil, err
	}
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, source := range sources {
		crds = append(crds, source.Whole())
	}
	document, err := publish.Document3(b, crds, version)
	if err != nil {
		return nil, err
	}
	content, err := document.MarshalJSON() // json.Marshal would go over it once more
	if err != nil {
		return nil, err
	}
	if extension == asProto {
		parsed, err := openapiv3.ParseDocument(content)
		if err != nil {
			return nil, err
		}
		if content, err = proto.Marshal(parsed); err != nil {
			return nil, err
		}
	}
	return pack(content)
}

func build2(crd *apiextensionsv1.CustomResourceDefinition, extension string) ([]byte, error) {
	b, err := base()
	if err != nil {
		return nil, err
	}
	document, err := publish.Document2(b, crd)
	if err != nil {
		return nil, err
	}
	content, err := document.MarshalJSON() // json.Marshal would go over it once more
	if err != nil {
		return nil, err
	}
	if extension == asProto {
		parsed, err := openapiv2.ParseDocument(content)
		if err != nil {
			return nil, err
		}
		parsed.Swagger, parsed.Info = "", nil
		if content, err = proto.Marshal(parsed); err != nil {
			return nil, err
		}
	}
	return pack(content)
}

// build2 joins the built-in document of version 2 with those of the
// definitions.
func (c *customs) build2(extension string) ([]byte, error) {
	content, err := docs.ReadFile("docs/v2" + extension)
	if err != nil {
		return nil, err
	}
	if content, err = unpack(content); err != nil {
		return nil, err
	}
	if extension == asProto {
		return c.join(content)
	}
	return c.weave(content)
}

// join relies on what decoding two protobuf messages after each other means:
// their lists, of which maps are made, become one.
func (c *customs) join(content []byte) ([]byte, error) {
	for _, f := range c.definitions {
		packed, err := f.made(asProto)
		if err != nil {
			return nil, err
		}
		part, err := unpack(packed)
		if err != nil {
			return nil, err
		}
		content = append(content, part...)
	}
	return pack(content)
}

func (c *customs) weave(content []byte) ([]byte, error) {
	where, err := sections(content)
	if err != nil {
		return nil, err
	}
	shared := map[string]json.RawMessage{}
	if s, ok := where["parameters"]; ok {
		if err := json.Unmarshal(content[s.start:s.end], &shared); err != nil {
			return nil, err
		}
	}
	added := map[string][]byte{}
	for _, f := range c.definitions {
		packed, err := f.made(asJSON)
		if err != nil {
			return nil, err
		}
		part, err := unpack(packed)
		if err != nil {
			return nil, err
		}
		if err := collect(part, added, shared); err != nil {
			return nil, err
		}
	}
	if content, err = splice(content, added); err != nil {
		return nil, err
	}
	return pack(content)
}

// collect adds the members of a fragment's sections to those of others.
// Parameters have the same name only if they are the same.
func collect(part []byte, added map[string][]byte, shared map[string]json.RawMessage) error {
	where, err := sections(part)
	if err != nil {
		return err
	}
	for _, name := range []string{"paths", "definitions"} {
		if s, ok := where[name]; ok {
			added[name] = with(added[name], members(part[s.start:s.end]))
		}
	}
	s, ok := where["parameters"]
	if !ok {
		return nil
	}
	parameters := map[string]json.RawMessage{}
	if err := json.Unmarshal(part[s.start:s.end], &parameters); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if _, ok := shared[name]; !ok {
			shared[name] = parameters[name]
			added["parameters"] = with(added["parameters"], fmt.Appendf(nil, "%q:%s", name, parameters[name]))
		}
	}
	return nil
}

func with(list, more []byte) []byte {
	if len(list) > 0 && len(more) > 0 {
		list = append(list, ',')
	}
	return append(list, more...)
}
