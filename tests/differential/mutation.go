package differential

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// mutation is one change of an object.
type mutation struct {
	Label string
	Edit  Edit
	// within names the embedded type, a pod's spec, that the changed field lies
	// in, so that the same fields of many kinds can be thinned out.
	within string
}

// deepest is how far below the object fields are changed.
const deepest = 14

type mutator struct {
	out  []mutation
	seen map[string]int // how often a named type is on the way
}

// mutations are all changes of single fields of the object's part at path that
// the schema suggests.
func mutations(s schema, object any, path ...string) []mutation {
	m := &mutator{seen: map[string]int{}}
	m.walk(place{schema: s, path: path, value: at(object, path...)})
	return m.out
}

// place is a field on the walk. Below a field that the object lacks, root is the
// path of that field and made what stands there for now.
type place struct {
	schema schema
	path   []string
	value  any
	root   []string
	made   any
	within string
}

func (p place) field() string {
	for i := len(p.path) - 1; i >= 0; i-- {
		if _, err := strconv.Atoi(p.path[i]); err != nil {
			return p.path[i]
		}
	}
	return ""
}

// down is the place of a child; an absent one gets a minimal value to stand on.
func (p place) down(key string, s schema) place {
	path := append(slices.Clone(p.path), key)
	child := place{schema: s, path: path, value: at(p.value, key), root: p.root, made: p.made, within: p.within}
	if strings.HasSuffix(s.name, ".PodSpec") {
		child.within = "PodSpec"
	}
	return child
}

// materialize gives an absent place a value that its children stand on.
func (p place) materialize() place {
	if p.value != nil {
		return p
	}
	p.value = p.schema.minimal(p.field(), 0)
	if p.root == nil {
		p.root, p.made = p.path, p.value
		return p
	}
	made, err := set(clone(p.made), p.path[len(p.root):], p.value)
	if err == nil {
		p.made = made
	}
	return p
}

// change records that the place's value becomes value.
func (m *mutator) change(p place, value any) {
	label := strings.Join(p.path, "/") + "=" + short(value)
	edit := Edit{Path: joinPath(p.path), Value: value}
	if p.root != nil {
		made, err := set(clone(p.made), p.path[len(p.root):], clone(value))
		if err != nil {
			return
		}
		edit = Edit{Path: joinPath(p.root), Value: made}
	}
	m.out = append(m.out, mutation{Label: label, Edit: edit, within: p.within})
}

func short(value any) string {
	if value == nil {
		return "nothing"
	}
	text := compact(value)
	if len(text) > 60 {
		h := fnv.New32a()
		_, _ = h.Write([]byte(text))
		return fmt.Sprintf("%s...%x", text[:40], h.Sum32())
	}
	return text
}

func (m *mutator) walk(p place) {
	if len(p.path) > deepest {
		return
	}
	if n := p.schema.name; n != "" {
		if m.seen[n] >= 1 && !p.schema.is("LabelSelector") {
			return
		}
		m.seen[n]++
		defer func() { m.seen[n]-- }()
	}
	for _, v := range candidates(p) {
		m.change(p, v)
	}
	if p.value != nil && p.root == nil && len(p.path) > 1 {
		m.change(p, nil)
	}
	switch p.schema.text("type") {
	case "array":
		p = p.materialize()
		m.walk(p.down("0", p.schema.items()))
	case "object", "":
		m.walkObject(p)
	}
}

func (m *mutator) walkObject(p place) {
	fields := p.schema.properties()
	if len(fields) == 0 {
		if values, ok := p.schema.values(); ok && values.text("type") != "string" && !values.is("Quantity") {
			p = p.materialize()
			m.walk(p.down("key", values))
		}
		return
	}
	p = p.materialize()
	for _, name := range fields {
		if len(p.path) == 0 && (name == "metadata" || name == "status" || name == "kind" || name == "apiVersion") {
			continue
		}
		if name == "metadata" { // of a template
			m.change(p.down(name, p.schema.property(name)), map[string]any{"labels": map[string]any{"Bad key!": "v"}, "annotations": map[string]any{"bad key": "v"}})
			continue
		}
		m.walk(p.down(name, p.schema.property(name)))
	}
}

// candidates are values for a place that are worth a try.
func candidates(p place) []any {
	s := p.schema
	switch {
	case s.is("Quantity"):
		return []any{"-1", "0", "1500m", "3Gi", "x"}
	case s.is("IntOrString"):
		return []any{0.0, -1.0, 8080.0, "50%", "150%", "a-name", "Bad_Value!", ""}
	case s.is("Time"), s.is("MicroTime"):
		return []any{s.minimal("", 0), "yesterday"}
	case s.is("RawExtension"):
		return []any{map[string]any{"a": 1.0}, "text"}
	case len(s.enum()) > 0:
		out := []any{"", "Other"}
		for _, e := range s.enum() {
			out = append(out, e)
		}
		return out
	}
	switch s.text("type") {
	case "string":
		if s.text("format") == "byte" {
			return []any{"", "eA==", "!"}
		}
		out := []any{"", "value", "Bad_Value!", strings.Repeat("a", 300)}
		if h, ok := hints[p.field()].(string); ok {
			out = append(out, h)
		}
		return out
	case "integer", "number":
		return []any{0.0, 1.0, -1.0, 65536.0, 2147483647.0}
	case "boolean":
		return []any{true, false}
	case "array":
		return lists(p)
	}
	if values, ok := s.values(); ok {
		one := values.minimal("", 0)
		return []any{map[string]any{}, map[string]any{"key": one}, map[string]any{"Bad key!": one}, map[string]any{"example.com/key": one}}
	}
	return []any{map[string]any{}}
}

func lists(p place) []any {
	one := p.schema.items().minimal(strings.TrimSuffix(p.field(), "s"), 0)
	out := []any{[]any{}, []any{one}, []any{one, one}}
	if have := asList(p.value); len(have) > 0 {
		out = append(out, append(slices.Clone(have), have[0]))
	}
	if p.schema.items().text("type") == "object" {
		out = append(out, []any{map[string]any{}})
	}
	return out
}

// thin keeps at most n mutations, and at most n/4 of those within an embedded
// pod's spec, chosen by the seed alone.
func thin(all []mutation, n, seed int) []mutation {
	var own, embedded []mutation
	for _, m := range all {
		if m.within != "" {
			embedded = append(embedded, m)
		} else {
			own = append(own, m)
		}
	}
	if len(own) == 0 {
		return pick(embedded, n, seed)
	}
	return append(pick(own, n, seed), pick(embedded, max(n/4, n-len(own)), seed)...)
}

func pick(all []mutation, n, seed int) []mutation {
	if len(all) <= n {
		return all
	}
	rank := func(m mutation) uint32 {
		h := fnv.New32a()
		_, _ = fmt.Fprintf(h, "%d %s", seed, m.Label)
		return h.Sum32()
	}
	out := slices.Clone(all)
	slices.SortFunc(out, func(a, b mutation) int { return cmp.Compare(rank(a), rank(b)) })
	out = out[:n]
	slices.SortFunc(out, func(a, b mutation) int { return cmp.Compare(a.Label, b.Label) })
	return out
}
