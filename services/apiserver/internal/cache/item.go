// Package cache holds the newest version of every stored object and hands
// changes to watchers; it is fed by one etcd watch and serves every read.
package cache

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/libs/wire"
)

// Item is one version of one object. It is shared and never modified.
type Item struct {
	Kind            *kinds.Kind
	Namespace, Name string
	// Revision is etcd's at the write of this version; the object's resource
	// version.
	Revision int64

	key    string // the place in its collection: upstream's order of etcd keys
	frame  []byte
	splice int // where a custom resource's frame has what is not stored
	fields func(kinds.Object) fields.Set

	selectable atomic.Pointer[selectable]
	json       atomic.Pointer[[]byte]
	shown      atomic.Pointer[shown]
}

// shown is the item as other kinds show it: there are few.
type shown struct {
	item *Item
	next *shown
}

type selectable struct {
	labels labels.Set
	fields fields.Set
	uid    string
}

// NewItem makes an item of an object's encoded message, which is copied.
// fieldsOf gives the kind's selectable fields; it may be nil.
func NewItem(k *kinds.Kind, namespace, name string, message []byte, revision int64, fieldsOf func(kinds.Object) fields.Set) *Item {
	version := strconv.FormatInt(revision, 10)
	i := &Item{
		Kind: k, Namespace: namespace, Name: name, Revision: revision, key: Key(namespace, name), fields: fieldsOf,
	}
	if k.Custom() {
		i.frame, i.splice = versioned(message, version)
		return i
	}
	frame := make([]byte, 0, len(message)+len(version)+4)
	i.frame = wire.AppendResourceVersion(append(frame, message...), version)
	return i
}

// at is the same object state at another revision, as deletions show it.
func (i *Item) at(revision int64) *Item {
	message := i.frame
	if i.Kind.Custom() {
		message = i.stored()
	}
	out := NewItem(i.Kind, i.Namespace, i.Name, message, revision, i.fields)
	out.selectable.Store(i.selectable.Load())
	return out
}

// Frame is the object's encoded message with its resource version; of a custom
// resource it is JSON, in whatever version it was stored. It is shared: do not
// modify it.
func (i *Item) Frame() []byte { return i.frame }

// Decode decodes a fresh copy, which is the caller's own. It has its resource
// version, and no apiVersion and kind. Only custom resources fail, when they
// are to be converted and cannot be.
func (i *Item) Decode() (kinds.Object, error) {
	o := i.Kind.New()
	if err := o.Unmarshal(i.frame); err != nil {
		return nil, fmt.Errorf("decode %s %s/%s: %w", i.Kind, i.Namespace, i.Name, err)
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if i.Kind.Complete != nil {
		i.Kind.Complete(o)
	}
	return o, nil
}

// Object is Decode for kinds that cannot fail. Of what does not decode all the
// same there is the name alone, by which it can be deleted.
func (i *Item) Object() kinds.Object {
	o, err := i.Decode()
	if err == nil {
		return o
	}
	o = i.Kind.New()
	o.SetNamespace(i.Namespace)
	o.SetName(i.Name)
	o.SetResourceVersion(strconv.FormatInt(i.Revision, 10))
	return o
}

// JSON is the object's encoding with apiVersion, kind and resource version; it
// is made once. It is shared: do not modify it.
func (i *Item) JSON() ([]byte, error) {
	if b := i.json.Load(); b != nil {
		return *b, nil
	}
	o, err := i.Decode()
	if err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(i.Kind.GroupVersionKind())
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s/%s: %w", i.Kind, i.Namespace, i.Name, err)
	}
	if bytes.Equal(b, i.frame) {
		b = i.frame // most custom resources are shown as they are stored
	}
	i.json.Store(&b)
	return b, nil
}

// Labels are the object's labels. They are shared: do not modify them.
func (i *Item) Labels() labels.Set { return i.selected().labels }

// Fields are the object's selectable fields, metadata.name and
// metadata.namespace among them. They are shared: do not modify them.
func (i *Item) Fields() fields.Set { return i.selected().fields }

// UID is the object's UID.
func (i *Item) UID() string { return i.selected().uid }

// Prepare makes what selectors look at, so that Labels, Fields and UID cost
// nothing afterwards. It fails as Decode does.
func (i *Item) Prepare() error {
	if i.selectable.Load() != nil {
		return nil
	}
	o, err := i.Decode()
	if err == nil {
		i.selectable.Store(i.selectableOf(o))
	}
	return err
}

func (i *Item) selected() *selectable {
	if s := i.selectable.Load(); s != nil {
		return s
	}
	s := i.selectableOf(i.Object())
	i.selectable.Store(s)
	return s
}

func (i *Item) selectableOf(o kinds.Object) *selectable {
	s := &selectable{labels: o.GetLabels(), uid: string(o.GetUID())}
	if i.fields != nil {
		s.fields = i.fields(o)
	}
	if s.fields == nil {
		s.fields = fields.Set{}
	}
	s.fields["metadata.name"] = i.Name
	if i.Kind.Namespaced {
		s.fields["metadata.namespace"] = i.Namespace
	}
	return s
}

// As is the item as another kind shows it; it is made once. convert is not
// needed for custom resources: these read what is stored in any version, when
// they are first looked at.
func (i *Item) As(k *kinds.Kind, convert func(kinds.Object) (kinds.Object, error), fieldsOf func(kinds.Object) fields.Set) (*Item, error) {
	for {
		known := i.shown.Load()
		for s := known; s != nil; s = s.next {
			if s.item.Kind == k {
				return s.item, nil
			}
		}
		out, err := i.as(k, convert, fieldsOf)
		if err != nil {
			return nil, err
		}
		if i.shown.CompareAndSwap(known, &shown{item: out, next: known}) {
			return out, nil
		}
	}
}

func (i *Item) as(k *kinds.Kind, convert func(kinds.Object) (kinds.Object, error), fieldsOf func(kinds.Object) fields.Set) (*Item, error) {
	if k.Custom() {
		return &Item{
			Kind: k, Namespace: i.Namespace, Name: i.Name, Revision: i.Revision,
			key: i.key, frame: i.frame, splice: i.splice, fields: fieldsOf,
		}, nil
	}
	o, err := i.Decode()
	if err != nil {
		return nil, err
	}
	if o, err = convert(o); err != nil {
		return nil, fmt.Errorf("show %s %s/%s as %s: %w", i.Kind, i.Namespace, i.Name, k.APIVersion(), err)
	}
	o.SetResourceVersion("")
	message, err := o.Marshal()
	if err != nil {
		return nil, err
	}
	return NewItem(k, i.Namespace, i.Name, message, i.Revision, fieldsOf), nil
}

// Key is an object's key in its collection.
func Key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// place is an item that is only looked for.
func place(key string) *Item { return &Item{key: key} }
