// Package kinds is the table of every kind the API serves; discovery, routes,
// storage, typed gRPC services and clients are all driven by it.
package kinds

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is what every served kind is: a struct of k8s.io/api with metadata
// and its generated protobuf code.
type Object interface {
	runtime.Object
	metav1.Object
	Reset()
	Marshal() ([]byte, error)
	MarshalToSizedBuffer([]byte) (int, error)
	Unmarshal([]byte) error
	Size() int
}

// Kind is one row of the table. Rows are shared and never modified.
type Kind struct {
	Group, Version, Kind string
	Plural, Singular     string
	ShortNames           []string
	Categories           []string
	Namespaced           bool
	// Verbs as discovery lists them, sorted.
	Verbs []string
	// Message is the protobuf full name, such as k8s.io.api.core.v1.Pod.
	Message string
	// Prefix is the folder below /registry/ in etcd; empty for kinds that are
	// answered and never stored.
	Prefix string
	// Subresources as discovery lists them, sorted.
	Subresources []string
	// StoredAs is the kind whose objects this one shows in another shape (events
	// of events.k8s.io are core events); nil if it is stored as itself.
	StoredAs *Kind
	// ListKind is the kind of a list of these objects; empty for Kind+"List".
	ListKind string
	// Definition is what serves a kind that was made at run time, of a
	// CustomResourceDefinition; nil for the kinds of the table. Objects of such
	// kinds are JSON where those of others are protobuf: in etcd, and as what
	// Marshal and Unmarshal understand.
	Definition any
	// StorageVersion is the version that stored objects bear. Where it is not
	// Version, as upstream's for kinds that are new in theirs, the messages of
	// both are the same.
	StorageVersion string
	// New returns an empty object, NewList an empty list of it (nil where
	// there is no list).
	New     func() Object
	NewList func() runtime.Object
	// Complete sets what an object's message does not carry and its JSON shows:
	// apiVersion and kind of objects within it. Nil for most kinds.
	Complete func(Object)
}

// GroupVersionKind names the kind.
func (k *Kind) GroupVersionKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
}

// GroupVersion is the kind's group and version.
func (k *Kind) GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: k.Group, Version: k.Version}
}

// GroupVersionResource names the kind's collection.
func (k *Kind) GroupVersionResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: k.Group, Version: k.Version, Resource: k.Plural}
}

// GroupResource names the kind's collection without a version, as errors do.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Plural}
}

// APIVersion is the apiVersion field of the kind's objects.
func (k *Kind) APIVersion() string { return k.GroupVersion().String() }

// StorageAPIVersion is the apiVersion of stored objects.
func (k *Kind) StorageAPIVersion() string {
	return schema.GroupVersion{Group: k.Group, Version: k.StorageVersion}.String()
}

// Service is the full name of the kind's gRPC service.
func (k *Kind) Service() string { return "coracle.api.v1." + k.ServiceName() }

// ServiceName is the gRPC service's name in its package. Kinds that share a
// name with one of another group (Event) carry their group's first word.
func (k *Kind) ServiceName() string {
	if k.StoredAs != nil {
		word, _, _ := strings.Cut(k.Group, ".")
		return strings.ToUpper(word[:1]) + word[1:] + strings.ToUpper(k.Version[:1]) + k.Version[1:] + k.Kind + "Service"
	}
	return k.Kind + "Service"
}

// Custom tells whether the kind was made at run time, of a
// CustomResourceDefinition.
func (k *Kind) Custom() bool { return k.Definition != nil }

// ListGroupVersionKind names the kind of a list of these objects.
func (k *Kind) ListGroupVersionKind() schema.GroupVersionKind {
	name := k.ListKind
	if name == "" {
		name = k.Kind + "List"
	}
	return k.GroupVersion().WithKind(name)
}

// Stored tells whether objects of the kind are kept in etcd.
func (k *Kind) Stored() bool { return k.Prefix != "" }

// Has tells whether the kind has the verb.
func (k *Kind) Has(verb string) bool { return contains(k.Verbs, verb) }

// HasSubresource tells whether the kind has the subresource.
func (k *Kind) HasSubresource(name string) bool { return contains(k.Subresources, name) }

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// String is resource.group, as in upstream's messages.
func (k *Kind) String() string { return k.GroupResource().String() }
