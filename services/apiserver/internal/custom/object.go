package custom

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"coracle.local/libs/kinds"
)

// Object is a custom resource: a tree of JSON values with the face of every
// other kind. Its encoded form is JSON, which is also what etcd holds.
//
// There are two ways into an Object. UnmarshalJSON takes the text as it is,
// for bodies and patches; whoever calls it goes on with Definition.Settle.
// Unmarshal reads what is stored, by the rules of the object's definition: it
// is converted to the version of the object's kind, pruned and completed.
type Object struct {
	unstructured.Unstructured

	// stored reads stored bytes; nil for an object that no definition made.
	stored *version
	// warned is what validation let pass, but not without a word. Warnings
	// returns it.
	warned []string
}

var (
	_ kinds.Object     = (*Object)(nil)
	_ json.Marshaler   = (*Object)(nil)
	_ json.Unmarshaler = (*Object)(nil)
)

// errNoObject is about JSON that is a list or a scalar.
var errNoObject = errors.New("a custom resource must be a JSON object")

// DeepCopyObject implements runtime.Object; the copy is an *Object.
func (o *Object) DeepCopyObject() runtime.Object { return o.DeepCopy() }

// DeepCopy copies the tree.
func (o *Object) DeepCopy() *Object {
	if o == nil {
		return nil
	}
	return &Object{Unstructured: *o.Unstructured.DeepCopy(), stored: o.stored}
}

// Reset empties the object.
func (o *Object) Reset() { o.Object = map[string]any{} }

// GetObjectKind implements runtime.Object.
func (o *Object) GetObjectKind() schema.ObjectKind { return o }

// SetGroupVersionKind sets apiVersion and kind, or takes them away if they are
// empty: an object on its way through the registry has none.
func (o *Object) SetGroupVersionKind(gvk schema.GroupVersionKind) {
	if gvk.Empty() {
		delete(o.Object, "apiVersion")
		delete(o.Object, "kind")
		return
	}
	o.Unstructured.SetGroupVersionKind(gvk)
}

// MarshalJSON implements json.Marshaler.
func (o *Object) MarshalJSON() ([]byte, error) { return json.Marshal(o.Object) }

// UnmarshalJSON implements json.Unmarshaler: integers stay integers, and
// nothing is checked, dropped or added.
func (o *Object) UnmarshalJSON(data []byte) error {
	tree := map[string]any{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &tree); err != nil {
		return err
	}
	if tree == nil {
		return errNoObject
	}
	o.Object = tree
	return nil
}

// Marshal encodes the object as JSON that says what it is, if it was made by a
// definition.
func (o *Object) Marshal() ([]byte, error) {
	if o.stored == nil || (o.Object["kind"] != nil && o.Object["apiVersion"] != nil) {
		return o.MarshalJSON()
	}
	tree := make(map[string]any, len(o.Object)+2)
	for name, value := range o.Object {
		tree[name] = value
	}
	tree["apiVersion"], tree["kind"] = o.stored.kind.APIVersion(), o.stored.kind.Kind
	return json.Marshal(tree)
}

// Unmarshal reads what Marshal or an upstream server has stored.
func (o *Object) Unmarshal(data []byte) error {
	if err := o.UnmarshalJSON(data); err != nil || o.stored == nil {
		return err
	}
	return o.stored.restore(o)
}

// Size is the length of the encoded form.
func (o *Object) Size() int {
	data, err := o.Marshal()
	if err != nil {
		return 0
	}
	return len(data)
}

// MarshalToSizedBuffer writes the encoded form to the end of b, as generated
// protobuf code does.
func (o *Object) MarshalToSizedBuffer(b []byte) (int, error) {
	data, err := o.Marshal()
	if err != nil {
		return 0, err
	}
	if len(data) > len(b) {
		return 0, fmt.Errorf("%d bytes of JSON do not fit into %d", len(data), len(b))
	}
	return copy(b[len(b)-len(data):], data), nil
}

// List is a list of custom resources.
type List struct{ unstructured.UnstructuredList }

// DeepCopyObject implements runtime.Object.
func (l *List) DeepCopyObject() runtime.Object {
	return &List{*l.UnstructuredList.DeepCopy()}
}
