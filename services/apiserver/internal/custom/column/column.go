// Package column makes the tables of custom resources from the columns that
// their definition asks for.
package column

import (
	"bytes"
	"reflect"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/util/jsonpath"
)

// Table fills the rows of one version's table. It is safe for concurrent use.
type Table struct {
	headers []metav1.TableColumnDefinition
	paths   []*jsonpath.JSONPath
}

// age is the column of definitions that have none.
var age = apiextensionsv1.CustomResourceColumnDefinition{
	Name: "Age", Type: "date", Description: swagger("creationTimestamp"), JSONPath: ".metadata.creationTimestamp",
}

// New makes a table of a definition's columns; there is one for the name in
// any case. From the first column whose path cannot be read on there are none,
// as upstream has it.
func New(columns []apiextensionsv1.CustomResourceColumnDefinition) *Table {
	if len(columns) == 0 {
		columns = []apiextensionsv1.CustomResourceColumnDefinition{age}
	}
	t := &Table{headers: []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: swagger("name")}}}
	for _, c := range columns {
		path := jsonpath.New(c.Name).AllowMissingKeys(true)
		if err := path.Parse("{" + c.JSONPath + "}"); err != nil {
			break
		}
		description := c.Description
		if description == "" {
			description = "Custom resource definition column (in JSONPath format): " + c.JSONPath
		}
		t.paths = append(t.paths, path)
		t.headers = append(t.headers, metav1.TableColumnDefinition{
			Name: c.Name, Type: c.Type, Format: c.Format, Description: description, Priority: c.Priority,
		})
	}
	return t
}

func swagger(field string) string { return metav1.ObjectMeta{}.SwaggerDoc()[field] }

// Headers are the table's columns. They are shared: do not modify them.
func (t *Table) Headers() []metav1.TableColumnDefinition { return t.headers }

// Cells are the row of one object.
func (t *Table) Cells(tree map[string]any) []any {
	name, _, err := unstructured.NestedString(tree, "metadata", "name")
	if err != nil {
		name = ""
	}
	cells := make([]any, 1, len(t.headers))
	cells[0] = name
	for i, path := range t.paths {
		cells = append(cells, cell(t.headers[i+1].Type, path, tree))
	}
	return cells
}

// cell is the first value at a path in the column's type; nil if there is none
// or it is of another type.
func cell(kind string, path *jsonpath.JSONPath, tree map[string]any) any {
	found, err := path.FindResults(tree)
	if err != nil || len(found) == 0 || len(found[0]) == 0 {
		return nil
	}
	value := found[0][0].Interface()
	if kind == "string" {
		var b bytes.Buffer
		if err := path.PrintResults(&b, []reflect.Value{reflect.ValueOf(value)}); err != nil {
			return nil
		}
		return b.String()
	}
	return typed(kind, value)
}

func typed(kind string, value any) any {
	switch v := value.(type) {
	case int64:
		switch kind {
		case "integer":
			return v
		case "number":
			return float64(v)
		}
	case float64:
		switch kind {
		case "integer":
			return int64(v)
		case "number":
			return v
		}
	case bool:
		if kind == "boolean" {
			return v
		}
	case string:
		if kind == "date" {
			return since(v)
		}
	}
	return nil
}

// since is how long ago a time was.
func since(text string) string {
	var at metav1.Time
	if err := at.UnmarshalQueryParameter(text); err != nil {
		return "<invalid>"
	}
	if at.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(at.Time))
}
