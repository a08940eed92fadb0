// Package cache holds the newest version of every stored object and hands
// changes to watchers; it is fed by one etcd watch and serves every read.
package cache

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

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
	fields func(kinds.Object) fields.Set

	selectable atomic.Pointer[selectable]
	json       atomic.Pointer[[]byte]
	shown      atomic.Pointer[Item]
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
	size := len(version) + 2
	frame := make([]byte, 0, len(message)+size+2)
	frame = append(frame, message...)
	return &Item{
		Kind: k, Namespace: namespace, Name: name, Revision: revision, key: Key(namespace, name),
		frame: wire.AppendResourceVersion(frame, version), fields: fieldsOf,
	}
}

// at is the same object state at another revision, as deletions show it.
func (i *Item) at(revision int64) *Item {
	out := NewItem(i.Kind, i.Namespace, i.Name, i.frame, revision, i.fields)
	out.selectable.Store(i.selectable.Load())
	return out
}

// Frame is the object's encoded message with its resource version. It is
// shared: do not modify it.
func (i *Item) Frame() []byte { return i.frame }

// Object decodes a fresh copy, which is the caller's own. It has its resource
// version, and no apiVersion and kind.
func (i *Item) Object() kinds.Object {
	o := i.Kind.New()
	if err := o.Unmarshal(i.frame); err != nil {
		// The frame was decoded once before it came into the cache.
		panic(fmt.Sprintf("cache: %s %s/%s does not decode: %v", i.Kind, i.Namespace, i.Name, err))
	}
	return o
}

// JSON is the object's encoding with apiVersion, kind and resource version; it
// is made once. It is shared: do not modify it.
func (i *Item) JSON() ([]byte, error) {
	if b := i.json.Load(); b != nil {
		return *b, nil
	}
	o := i.Object()
	o.GetObjectKind().SetGroupVersionKind(i.Kind.GroupVersionKind())
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s %s/%s: %w", i.Kind, i.Namespace, i.Name, err)
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

func (i *Item) selected() *selectable {
	if s := i.selectable.Load(); s != nil {
		return s
	}
	o := i.Object()
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
	i.selectable.Store(s)
	return s
}

// As is the item as another kind shows it. convert is called once an item.
func (i *Item) As(k *kinds.Kind, convert func(kinds.Object) (kinds.Object, error), fieldsOf func(kinds.Object) fields.Set) (*Item, error) {
	if out := i.shown.Load(); out != nil {
		return out, nil
	}
	o, err := convert(i.Object())
	if err != nil {
		return nil, fmt.Errorf("show %s %s/%s as %s: %w", i.Kind, i.Namespace, i.Name, k.APIVersion(), err)
	}
	o.SetResourceVersion("")
	message, err := o.Marshal()
	if err != nil {
		return nil, err
	}
	out := NewItem(k, i.Namespace, i.Name, message, i.Revision, fieldsOf)
	i.shown.Store(out)
	return out, nil
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
