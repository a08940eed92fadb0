// Package auth is the vocabulary that authentication, authorization and
// admission share: who is calling, what they see of the cluster, and how a
// refusal reads.
package auth

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
)

type userKey struct{}

// WithUser returns a context of a request made by u.
func WithUser(ctx context.Context, u user.Info) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}

// User returns who makes the request, nil if nobody was identified.
func User(ctx context.Context) user.Info {
	u, _ := ctx.Value(userKey{}).(user.Info)
	return u
}

// Privileged tells whether u is in the group that may do everything.
func Privileged(u user.Info) bool {
	return u != nil && slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup)
}

const nodeUserPrefix = "system:node:"

// NodeName tells whether u is a kubelet, and of which node. The name is empty
// for a kubelet that does not say.
func NodeName(u user.Info) (string, bool) {
	if u == nil {
		return "", false
	}
	name, ok := strings.CutPrefix(u.GetName(), nodeUserPrefix)
	if !ok || !slices.Contains(u.GetGroups(), user.NodesGroup) {
		return "", false
	}
	return name, true
}

// Reader shows the present state of the cluster without I/O. What it returns
// is a copy, or never changes: callers do not modify it.
type Reader interface {
	Get(k *kinds.Kind, namespace, name string) (kinds.Object, bool)
	// List returns the objects of a namespace; of all if it is empty.
	List(k *kinds.Kind, namespace string) []kinds.Object
}

// Get reads one object of a Go type.
func Get[T kinds.Object](r Reader, namespace, name string) (T, bool) {
	if o, ok := r.Get(kinds.For[T](), namespace, name); ok {
		t, ok := o.(T)
		return t, ok
	}
	var zero T
	return zero, false
}

// List reads the objects of a Go type.
func List[T kinds.Object](r Reader, namespace string) []T {
	objects := r.List(kinds.For[T](), namespace)
	out := make([]T, 0, len(objects))
	for _, o := range objects {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// Change is one object that appeared, changed or went.
type Change struct {
	Kind            *kinds.Kind
	Namespace, Name string
	// Fields are the object's selectable fields, spec.nodeName of pods among
	// them; nil if it went.
	Fields map[string]string
	// Object decodes the object. It is nil if the object went, and may be
	// called later, or never.
	Object func() kinds.Object
}

// Observer keeps an index up to date. The cache tells it about every object
// of the kinds it watches: the present ones first, then each change, in order
// and from one goroutine a kind. Observe is quick and does no I/O.
type Observer interface {
	Watches() []*kinds.Kind
	Observe(Change)
}
