package strategy

import (
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

// Shallow is the behaviour of a kind that has no typed one: desired and
// observed state are kept apart, and the generation counts the changes of the
// desired one. It finds the two by their field names, Spec and Status.
func Shallow(k *kinds.Kind) *Erased {
	shallow := &Erased{AllowUnconditionalUpdate: true, Columns: DefaultColumns(), Cells: DefaultCells}
	hasSpec := stateOf(k.New(), "Spec").IsValid()
	for _, name := range k.Subresources {
		if name == "status" {
			shallow.Status = &Sub[kinds.Object]{PrepareUpdate: keepSpec}
			shallow.ResetFields = map[string][]string{"": {"status"}, "status": {"spec"}}
		}
	}
	shallow.PrepareCreate = func(obj kinds.Object) {
		if shallow.Status != nil {
			stateOf(obj, "Status").SetZero()
		}
		if hasSpec {
			obj.SetGeneration(1)
		}
	}
	shallow.PrepareUpdate = func(obj, old kinds.Object) {
		if shallow.Status != nil {
			stateOf(obj, "Status").Set(stateOf(old, "Status"))
		}
		if hasSpec {
			Generation(obj, old, !equality.Semantic.DeepEqual(stateOf(obj, "Spec").Interface(), stateOf(old, "Spec").Interface()))
		}
	}
	return shallow
}

// Outline is Shallow for a kind of which more is known: the caller replaces
// what is particular.
func Outline[T kinds.Object]() Kind[T] {
	shallow := Shallow(kinds.For[T]())
	k := Kind[T]{
		PrepareCreate:            func(obj T) { shallow.PrepareCreate(obj) },
		PrepareUpdate:            func(obj, old T) { shallow.PrepareUpdate(obj, old) },
		AllowUnconditionalUpdate: shallow.AllowUnconditionalUpdate,
		ResetFields:              shallow.ResetFields,
		Columns:                  shallow.Columns,
		Cells:                    func(obj T) []any { return shallow.Cells(obj) },
	}
	if shallow.Status != nil {
		k.Status = &Sub[T]{PrepareUpdate: func(obj, old T) { shallow.Status.PrepareUpdate(obj, old) }}
	}
	return k
}

// keepSpec lets a write through the status subresource change nothing else.
func keepSpec(obj, old kinds.Object) {
	if spec := stateOf(obj, "Spec"); spec.IsValid() {
		spec.Set(stateOf(old, "Spec"))
	}
}

func stateOf(obj kinds.Object, name string) reflect.Value {
	return reflect.ValueOf(obj).Elem().FieldByName(name)
}

// DefaultColumns are the columns of kinds that upstream has no printer for.
func DefaultColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: swagger("name")},
		{Name: "Created At", Type: "date", Description: swagger("creationTimestamp")},
	}
}

// DefaultCells fill DefaultColumns.
func DefaultCells(obj kinds.Object) []any {
	return []any{obj.GetName(), obj.GetCreationTimestamp().UTC().Format("2006-01-02T15:04:05Z")}
}

func swagger(field string) string { return metav1.ObjectMeta{}.SwaggerDoc()[field] }
