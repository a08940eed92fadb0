// Package samples has one valid object of every stored kind that a client may
// make by hand, for tests that go over all kinds.
package samples

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
)

//go:embed samples.yaml
var file string

// APIResources is what upstream 1.37 serves, as `kubectl api-resources -o wide`
// tells it.
//
//go:embed api-resources.txt
var APIResources string

// Prepare makes the namespaces that the samples go to, with the accounts that
// controllers make otherwise. The one named limited has a quota and a limit
// range in it, which change what others make.
func Prepare(ctx context.Context, c *client.Conn) error {
	for _, name := range []string{"samples", "limited"} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := client.For[*corev1.Namespace](c).Create(ctx, namespace); err != nil {
			return fmt.Errorf("prepare samples: %w", err)
		}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}}
		if _, err := client.For[*corev1.ServiceAccount](c).Create(ctx, account); err != nil {
			return fmt.Errorf("prepare samples: %w", err)
		}
	}
	return nil
}

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
