// Package samples has one valid object of every stored kind that a client may
// make by hand, for tests that go over all kinds.
package samples

import (
	_ "embed"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/kinds"
)

//go:embed samples.yaml
var file string

// Namespaces are where the samples go; they must exist first. The one named
// limited has a quota and a limit range in it, which change what others make.
func Namespaces() []string { return []string{"samples", "limited"} }

// All returns fresh objects, without apiVersion and kind set.
func All() ([]kinds.Object, error) {
	var out []kinds.Object
	for doc := range strings.SplitSeq(file, "\n---\n") {
		var t metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &t); err != nil {
			return nil, fmt.Errorf("sample: %w", err)
		}
		k := kinds.ByKind(schema.FromAPIVersionAndKind(t.APIVersion, t.Kind))
		if k == nil {
			return nil, fmt.Errorf("sample of an unknown kind: %s %s", t.APIVersion, t.Kind)
		}
		o := k.New()
		if err := yaml.UnmarshalStrict([]byte(doc), o); err != nil {
			return nil, fmt.Errorf("sample %s: %w", t.Kind, err)
		}
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		out = append(out, o)
	}
	return out, nil
}
