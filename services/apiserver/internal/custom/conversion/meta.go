package conversion

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// same refuses another object than the one that was sent.
func same(in, out *unstructured.Unstructured) error {
	if e, a := in.GetKind(), out.GetKind(); e != a {
		return fmt.Errorf("must have the same kind: %v != %v", e, a)
	}
	if e, a := in.GetName(), out.GetName(); e != a {
		return fmt.Errorf("must have the same name: %v != %v", e, a)
	}
	if e, a := in.GetNamespace(), out.GetNamespace(); e != a {
		return fmt.Errorf("must have the same namespace: %v != %v", e, a)
	}
	if e, a := in.GetUID(), out.GetUID(); e != a {
		return fmt.Errorf("must have the same UID: %v != %v", e, a)
	}
	return nil
}

// restoreMeta gives out the metadata of in, but for labels and annotations.
func restoreMeta(in, out map[string]any) error {
	raw, ok := out["metadata"]
	if !ok {
		return errors.New("missing metadata in converted object")
	}
	returned, ok := raw.(map[string]any)
	if !ok {
		return fmt.Errorf("invalid metadata of type %T in converted object", raw)
	}
	restored := map[string]any{}
	if original, ok := in["metadata"]; ok {
		if restored, ok = runtime.DeepCopyJSONValue(original).(map[string]any); !ok {
			return fmt.Errorf("invalid metadata of type %T in input object", original)
		}
	}
	out["metadata"] = restored
	for _, name := range []string{"labels", "annotations"} {
		if err := take(restored, returned, name); err != nil {
			return err
		}
	}
	return nil
}

// take takes labels or annotations over from what a webhook returned.
func take(restored, returned map[string]any, name string) error {
	raw := returned[name]
	if raw == nil {
		delete(restored, name)
		return nil
	}
	given, ok := raw.(map[string]any)
	if !ok {
		return fmt.Errorf("invalid metadata.%s of type %T in converted object", name, raw)
	}
	original, ok := restored[name].(map[string]any)
	if !ok && restored[name] != nil {
		return fmt.Errorf("invalid metadata.%s of type %T in original object", name, restored[name])
	}
	values, changed := make(map[string]string, len(given)), len(original) != len(given)
	for key, value := range given {
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("metadata.%s[%s] must be a string, but is %T in converted object", name, key, value)
		}
		values[key] = text
		changed = changed || original[key] != value
	}
	if changed {
		if errs := validate(name, values); len(errs) > 0 {
			return errs.ToAggregate()
		}
	}
	restored[name] = given
	return nil
}

func validate(name string, values map[string]string) field.ErrorList {
	if name == "labels" {
		return metav1validation.ValidateLabels(values, field.NewPath("metadata", "labels"))
	}
	// Upstream's path has no s.
	return validation.ValidateAnnotations(values, field.NewPath("metadata", "annotation"))
}
