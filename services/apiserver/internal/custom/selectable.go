package custom

import (
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/util/jsonpath"
)

// fields reads the selectable fields that a version declares. It is never nil:
// custom resources refuse other fields in the words of kinds that have some.
func (v *version) fields() func(*Object) fields.Set {
	type selectable struct {
		name string
		path *jsonpath.JSONPath
	}
	var all []selectable
	for _, f := range v.spec.SelectableFields {
		all = append(all, selectable{strings.TrimPrefix(f.JSONPath, "."), parse(f)})
	}
	return func(o *Object) fields.Set {
		set := make(fields.Set, len(all))
		for _, f := range all {
			set[f.name] = lookUp(f.path, o.Object)
		}
		return set
	}
}

// parse reads a path that validation let pass; nil if it did not.
func parse(f apiextensionsv1.SelectableField) *jsonpath.JSONPath {
	path := jsonpath.New("selectableField").AllowMissingKeys(true)
	if err := path.Parse("{" + f.JSONPath + "}"); err != nil {
		return nil
	}
	return path
}

// lookUp is the text of the value at a path, empty if there is none.
func lookUp(path *jsonpath.JSONPath, tree map[string]any) string {
	if path == nil {
		return ""
	}
	found, err := path.FindResults(tree)
	if err != nil || len(found) != 1 || len(found[0]) != 1 {
		return ""
	}
	value := found[0][0].Interface()
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}
