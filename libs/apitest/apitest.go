// Package apitest is an API server in memory for the tests of components: calls
// of its own, and the typed services of every kind with watches and the bind
// stream. It does what all kinds have in common (versions, optimistic concurrency,
// generations, finalizers, grace, status kept apart) and validates nothing.
package apitest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"

	"google.golang.org/grpc"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	"coracle.local/libs/serve"
)

// API is the server. It is safe for concurrent use; its fields are set before.
type API struct {
	Clock clock.PassiveClock
	// Kinds are known beside the table's.
	Kinds []*kinds.Kind
	// Fail, if not nil, is asked before every call, one at a time, and may
	// refuse it.
	Fail func(verb string, k *kinds.Kind, namespace, name string) error
	// Review, if not nil, fills in the answer of what is created to be
	// answered and not kept.
	Review func(o kinds.Object)
	// BreakBinds ends a bind stream after so many bindings, without answering the
	// last of them. Zero is never.
	BreakBinds int

	mu       sync.Mutex
	revision int64
	objects  map[*kinds.Kind]map[cache.ObjectName]kinds.Object
	calls    []string
	log      []Change
	changed  chan struct{} // closed and replaced at every change
	bindings int

	refusal sync.Mutex
}

// Change is what became of an object: Before is nil for a new one, After for one
// that went. They are not to be modified.
type Change struct {
	Kind          *kinds.Kind
	Before, After kinds.Object
}

// New returns a server without objects.
func New() *API {
	return &API{Clock: clock.RealClock{}, objects: map[*kinds.Kind]map[cache.ObjectName]kinds.Object{}, changed: make(chan struct{})}
}

// Connect serves over a pipe until the test ends. Who calls makes no difference.
func (a *API) Connect(t testing.TB) *client.Conn {
	t.Helper()
	pipe := serve.NewPipe()
	g := serve.GRPC(
		func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			return h(ctx, r)
		},
		func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			return h(srv, s)
		},
		grpc.UnknownServiceHandler(a.handle), grpc.Creds(serve.Credentials(nil)))
	served := make(chan error, 1)
	go func() { served <- g.Serve(pipe) }()
	cc, err := pipe.Dial(&user.DefaultInfo{Name: "test"}, client.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
		g.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return client.New(cc)
}

// Seed stores objects as they are, status and all, in place of what has their
// names; what identifies them is filled in where it is missing.
func (a *API) Seed(objects ...kinds.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range objects {
		o = clone(o)
		if o.GetUID() == "" {
			o.SetUID(types.UID(a.kindOf(o).Plural + "-" + o.GetName()))
		}
		if o.GetCreationTimestamp().Time.IsZero() {
			o.SetCreationTimestamp(metav1.NewTime(a.Clock.Now()))
		}
		a.put(a.objects[a.kindOf(o)][key(o)], o)
	}
}

// Get reads an object that may not be there.
func Get[T kinds.Object](a *API, namespace, name string) (T, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o, ok := a.objects[kinds.For[T]()][cache.ObjectName{Namespace: namespace, Name: name}]; ok {
		return clone(o).(T), true
	}
	var none T
	return none, false
}

// All reads all objects of a type in a namespace; empty is everywhere.
func All[T kinds.Object](a *API, namespace string) []T {
	var out []T
	for _, o := range a.all(kinds.For[T](), namespace) {
		out = append(out, o.(T))
	}
	return out
}

func (a *API) all(k *kinds.Kind, namespace string) []kinds.Object {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []kinds.Object
	for _, o := range a.objects[k] {
		if namespace == "" || o.GetNamespace() == namespace {
			out = append(out, clone(o))
		}
	}
	slices.SortFunc(out, func(a, b kinds.Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// Changes returns all changes but the first seen ones, and a channel that is
// closed at the next.
func (a *API) Changes(seen int) (fresh []Change, next <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log[seen:], a.changed
}

// Until waits for a condition of the stored objects, as long as the test may last.
func (a *API) Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for {
		_, changed := a.Changes(0)
		if condition() {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("%s did not happen", what)
		}
	}
}

func clone(o kinds.Object) kinds.Object { return o.DeepCopyObject().(kinds.Object) }

func key(o metav1.Object) cache.ObjectName {
	return cache.ObjectName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func (a *API) kindOf(o kinds.Object) *kinds.Kind {
	if k := kinds.ForObject(o); k != nil {
		return k
	}
	for _, k := range a.Kinds {
		if k.GroupVersionKind() == o.GetObjectKind().GroupVersionKind() {
			return k
		}
	}
	panic("apitest: an object of no kind")
}

// put stores a new version of an object and tells watchers; a.mu is held. A nil o
// removes it.
func (a *API) put(old, o kinds.Object) {
	a.revision++
	version := strconv.FormatInt(a.revision, 10)
	change := Change{Before: old}
	if o == nil {
		change.Kind, change.Before = a.kindOf(old), clone(old)
		change.Before.SetResourceVersion(version)
		delete(a.objects[change.Kind], key(old))
	} else {
		o.SetResourceVersion(version)
		change.Kind, change.After = a.kindOf(o), clone(o)
		if a.objects[change.Kind] == nil {
			a.objects[change.Kind] = map[cache.ObjectName]kinds.Object{}
		}
		a.objects[change.Kind][key(o)] = o
	}
	a.log = append(a.log, change)
	close(a.changed)
	a.changed = make(chan struct{})
}
