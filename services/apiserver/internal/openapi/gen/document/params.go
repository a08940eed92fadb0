package document

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/common"
)

const prettyDescription = "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget)."

type documented interface{ SwaggerDoc() map[string]string }

// fromOptions makes query parameters of the simple fields of an options struct.
func fromOptions(options any, without ...string) []common.Parameter {
	var descriptions map[string]string
	if d, ok := options.(documented); ok {
		descriptions = d.SwaggerDoc()
	}
	var out []common.Parameter
	t := reflect.TypeOf(options).Elem()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		dataType := queryType(f.Type)
		if name == "" || dataType == "" || slices.Contains(without, name) {
			continue
		}
		out = append(out, inQuery(name, descriptions[name], dataType))
	}
	return out
}

// queryType is the JSON type of a field in a query; empty for fields that have
// no place there.
func queryType(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int32, reflect.Int64:
		return "integer"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return queryType(t.Elem())
	}
	return ""
}
