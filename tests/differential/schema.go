package differential

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"coracle.local/libs/kinds"
)

// schemas are the OpenAPI v3 documents of the kinds' group versions.
type schemas map[string]map[string]any

// add takes a group version's document.
func (s schemas) add(groupVersion string, document []byte) error {
	var doc struct {
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return fmt.Errorf("schemas of %s: %w", groupVersion, err)
	}
	s[groupVersion] = doc.Components.Schemas
	return nil
}

// schema is what a document says of a field.
type schema struct {
	all  map[string]any
	raw  map[string]any
	name string // of the type, if it has one
}

// of is the schema of a kind; ok is false if no document has it.
func (s schemas) of(k *kinds.Kind) (schema, bool) {
	all := s[k.APIVersion()]
	for name, raw := range all {
		known, _ := raw.(map[string]any)["x-kubernetes-group-version-kind"].([]any)
		for _, gvk := range known {
			if at(gvk, "group") == k.Group && at(gvk, "version") == k.Version && at(gvk, "kind") == k.Kind && len(known) == 1 {
				return schema{all: all, raw: raw.(map[string]any), name: name}, true
			}
		}
	}
	return schema{}, false
}

// child resolves a schema below this one.
func (s schema) child(raw any) schema {
	m, ok := raw.(map[string]any)
	if !ok {
		return schema{all: s.all, raw: map[string]any{}}
	}
	ref, _ := m["$ref"].(string)
	if ref == "" {
		ref, _ = at(m, "allOf", "0", "$ref").(string)
	}
	if ref == "" {
		return schema{all: s.all, raw: m}
	}
	name := strings.TrimPrefix(ref, "#/components/schemas/")
	target, _ := s.all[name].(map[string]any)
	return schema{all: s.all, raw: target, name: name}
}

func (s schema) text(key string) string { v, _ := s.raw[key].(string); return v }

// is tells whether it is the named type of apimachinery.
func (s schema) is(typeName string) bool { return strings.HasSuffix(s.name, "."+typeName) }

func (s schema) enum() []string { return texts(s.raw["enum"]) }

func (s schema) required() []string { return texts(s.raw["required"]) }

func texts(list any) []string {
	var out []string
	for _, v := range asList(list) {
		if t, ok := v.(string); ok {
			out = append(out, t)
		}
	}
	return out
}

func asList(v any) []any { l, _ := v.([]any); return l }

// properties are the fields' names, sorted.
func (s schema) properties() []string {
	fields, _ := s.raw["properties"].(map[string]any)
	var out []string
	for name := range fields {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (s schema) property(name string) schema { return s.child(at(s.raw, "properties", name)) }

func (s schema) items() schema { return s.child(s.raw["items"]) }

// values is the schema of a map's values.
func (s schema) values() (schema, bool) {
	raw, ok := s.raw["additionalProperties"].(map[string]any)
	return s.child(raw), ok
}

// hints are plausible values of fields by their names.
var hints = map[string]any{
	"name": "a-name", "namespace": "default", "kind": "Thing", "apiVersion": "v1", "apiGroup": "example.com",
	"image": "nginx", "key": "example.com/key", "path": "/x", "mountPath": "/mnt", "devicePath": "/dev/x", "port": 80.0,
	"containerPort": 80.0, "topologyKey": "zone", "driver": "d.example.com", "pool": "p", "device": "d", "ip": "10.1.2.3",
	"expression": "true", "schedule": "* * * * *", "protocol": "TCP", "fieldPath": "metadata.name", "resource": "limits.cpu",
	"whenUnsatisfiable": "DoNotSchedule", "maxSkew": 1.0, "weight": 1.0, "operator": "In", "url": "https://127.0.0.1:1/x",
	"hostPort": 8080.0, "number": 80.0, "count": 1.0, "seconds": 1.0, "type": "Thing", "status": "True", "reason": "Because",
	"signerName": "example.com/signer", "keyType": "ED25519",
}

// minimal is a value with what is required in it. It is plausible, not always
// valid.
func (s schema) minimal(field string, depth int) any {
	switch {
	case s.is("Quantity"):
		return "1"
	case s.is("IntOrString"):
		return 1.0
	case s.is("Time"):
		return "2026-01-01T00:00:00Z"
	case s.is("MicroTime"):
		return "2026-01-01T00:00:00.000000Z"
	case depth > 8:
		return nil
	}
	if e := s.enum(); len(e) > 0 {
		if h, ok := hints[field].(string); ok && slices.Contains(e, h) {
			return h
		}
		return e[0]
	}
	switch s.text("type") {
	case "string":
		if h, ok := hints[field].(string); ok {
			return h
		}
		if s.text("format") == "byte" {
			return "eA=="
		}
		return "value"
	case "integer", "number":
		if h, ok := hints[field].(float64); ok {
			return h
		}
		return 1.0
	case "boolean":
		return true
	case "array":
		return []any{s.items().minimal(strings.TrimSuffix(field, "s"), depth+1)}
	}
	out := map[string]any{}
	for _, name := range s.required() {
		out[name] = s.property(name).minimal(name, depth+1)
	}
	if values, ok := s.values(); ok {
		out["key"] = values.minimal("", depth+1)
	}
	return out
}
