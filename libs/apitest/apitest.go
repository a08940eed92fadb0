// Package apitest is an API server in memory for the tests of components: typed
// services of every kind with watches, optimistic concurrency and the bind stream.
// It validates nothing.
package apitest

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	"coracle.local/libs/serve"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

// API is the server. It is safe for concurrent use.
type API struct {
	// BreakBinds ends a bind stream after so many bindings, without answering the
	// last of them. Zero is never. Set it before Connect.
	BreakBinds int

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at every change
	version  int
	objects  map[string]kinds.Object // by kind/namespace/name
	log      []change
	bindings int
}

type change struct {
	kind   *kinds.Kind
	event  apiv1.EventType
	object kinds.Object
}

// New returns a server without objects.
func New() *API {
	return &API{changed: make(chan struct{}), objects: map[string]kinds.Object{}}
}

// Connect serves over a pipe until the test ends, to a caller of that name.
func (a *API) Connect(t testing.TB, name string) *client.Conn {
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
	cc, err := pipe.Dial(&user.DefaultInfo{Name: name}, client.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return client.New(cc)
}

func keyOf(k *kinds.Kind, namespace, name string) string {
	return k.Service() + "/" + namespace + "/" + name
}

// set stores an object and tells watchers. The caller holds the lock.
func (a *API) set(k *kinds.Kind, o kinds.Object, event apiv1.EventType) {
	a.version++
	o.SetResourceVersion(strconv.Itoa(a.version))
	if o.GetUID() == "" {
		o.SetUID(types.UID("uid-" + strconv.Itoa(a.version)))
	}
	key := keyOf(k, o.GetNamespace(), o.GetName())
	a.objects[key] = o
	if event == apiv1.EventType_EVENT_TYPE_DELETED {
		delete(a.objects, key)
	}
	a.log = append(a.log, change{k, event, o})
	close(a.changed)
	a.changed = make(chan struct{})
}

// Create stores an object, which is the server's from then on.
func Create[T kinds.Object](a *API, o T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.set(kinds.For[T](), o, apiv1.EventType_EVENT_TYPE_ADDED)
}

// Get reads an object, which is not to be modified.
func Get[T kinds.Object](a *API, namespace, name string) (T, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o, ok := a.objects[keyOf(kinds.For[T](), namespace, name)].(T)
	return o, ok
}

// All reads the objects of a type, which are not to be modified.
func All[T kinds.Object](a *API) []T {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []T
	for _, o := range a.objects {
		if t, ok := o.(T); ok {
			list = append(list, t)
		}
	}
	return list
}

// Until waits for a condition of the stored objects, as long as the test may last.
func (a *API) Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for {
		a.mu.Lock()
		changed := a.changed
		a.mu.Unlock()
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
