package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	"coracle.local/libs/serve"
	"coracle.local/libs/wire"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

// fakeAPI is an API server in memory, as far as a kubelet can tell: typed
// services with watches by node and by name, and optimistic concurrency. It
// validates nothing.
type fakeAPI struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	version int
	objects map[string]kinds.Object
	log     []change
}

type change struct {
	kind   *kinds.Kind
	event  apiv1.EventType
	object kinds.Object
}

func newFakeAPI() *fakeAPI {
	return &fakeAPI{changed: make(chan struct{}), objects: map[string]kinds.Object{}}
}

// connect serves the fake over a pipe until the test ends.
func (f *fakeAPI) connect(t *testing.T) *client.Conn {
	t.Helper()
	pipe := serve.NewPipe()
	g := serve.GRPC(
		func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			return h(ctx, r)
		},
		func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			return h(srv, s)
		},
		grpc.UnknownServiceHandler(f.handle), grpc.Creds(serve.Credentials(nil)))
	served := make(chan error, 1)
	go func() { served <- g.Serve(pipe) }()
	cc, err := pipe.Dial(&user.DefaultInfo{Name: "system:node:n1"}, client.DialOptions()...)
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
func (f *fakeAPI) set(k *kinds.Kind, o kinds.Object, event apiv1.EventType) {
	f.version++
	o.SetResourceVersion(strconv.Itoa(f.version))
	if o.GetUID() == "" {
		o.SetUID(types.UID("uid-" + strconv.Itoa(f.version)))
	}
	key := keyOf(k, o.GetNamespace(), o.GetName())
	f.objects[key] = o
	if event == apiv1.EventType_EVENT_TYPE_DELETED {
		delete(f.objects, key)
	}
	f.log = append(f.log, change{k, event, o})
	close(f.changed)
	f.changed = make(chan struct{})
}

// create stores an object.
func create[T kinds.Object](f *fakeAPI, o T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set(kinds.For[T](), o, apiv1.EventType_EVENT_TYPE_ADDED)
}

// get reads an object.
func get[T kinds.Object](f *fakeAPI, namespace, name string) (T, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.objects[keyOf(kinds.For[T](), namespace, name)].(T)
	return o, ok
}

// until waits for a condition of the stored objects.
func (f *fakeAPI) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for {
		f.mu.Lock()
		changed := f.changed
		f.mu.Unlock()
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

func (f *fakeAPI) handle(_ any, s grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(s)
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	for _, k := range kinds.All() {
		if k.Service() == service {
			return f.serve(k, method, s)
		}
	}
	return status.Errorf(codes.Unimplemented, "no service %s", service)
}

func (f *fakeAPI) serve(k *kinds.Kind, method string, s grpc.ServerStream) error {
	receive := func(m any, act func() (kinds.Object, error)) error {
		if err := s.RecvMsg(m); err != nil {
			return err
		}
		f.mu.Lock()
		o, err := act()
		f.mu.Unlock()
		if err != nil {
			return err
		}
		return s.SendMsg(o)
	}
	switch method {
	case "Watch":
		return f.watch(k, s)
	case "Get":
		r := &apiv1.GetRequest{}
		return receive(r, func() (kinds.Object, error) { return f.find(k, r.GetNamespace(), r.GetName()) })
	case "Delete":
		r := &apiv1.DeleteRequest{}
		return receive(r, func() (kinds.Object, error) { return f.delete(k, r) })
	case "Create", "Update":
		w := &wire.Write[kinds.Object]{Object: k.New()}
		return receive(w, func() (kinds.Object, error) { return f.write(k, method, w.Object) })
	case "Patch":
		r := &apiv1.PatchRequest{}
		return receive(r, func() (kinds.Object, error) { return f.patch(k, r) })
	}
	return status.Errorf(codes.Unimplemented, "no method %s", method)
}

func (f *fakeAPI) find(k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	if o, ok := f.objects[keyOf(k, namespace, name)]; ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(k.GroupResource(), name)
}

func (f *fakeAPI) delete(k *kinds.Kind, r *apiv1.DeleteRequest) (kinds.Object, error) {
	o, err := f.find(k, r.GetNamespace(), r.GetName())
	if err != nil {
		return nil, err
	}
	if want := r.GetOptions().GetUid(); want != "" && want != string(o.GetUID()) {
		return nil, apierrors.NewConflict(k.GroupResource(), r.GetName(), errors.New("another UID"))
	}
	f.set(k, o.DeepCopyObject().(kinds.Object), apiv1.EventType_EVENT_TYPE_DELETED)
	return o, nil
}

func (f *fakeAPI) write(k *kinds.Kind, method string, o kinds.Object) (kinds.Object, error) {
	old, err := f.find(k, o.GetNamespace(), o.GetName())
	switch {
	case method == "Create" && err == nil:
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), o.GetName())
	case method == "Create":
		f.set(k, o, apiv1.EventType_EVENT_TYPE_ADDED)
	case err != nil:
		return nil, err
	case o.GetResourceVersion() != "" && o.GetResourceVersion() != old.GetResourceVersion():
		return nil, apierrors.NewConflict(k.GroupResource(), o.GetName(), errors.New("it has changed"))
	default:
		f.set(k, o, apiv1.EventType_EVENT_TYPE_MODIFIED)
	}
	return o, nil
}

func (f *fakeAPI) patch(k *kinds.Kind, r *apiv1.PatchRequest) (kinds.Object, error) {
	old, err := f.find(k, r.GetNamespace(), r.GetName())
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	next := k.New()
	if r.GetPatchType() == string(types.StrategicMergePatchType) {
		if before, err = strategicpatch.StrategicMergePatch(before, r.GetPatch(), old); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	err = json.Unmarshal(before, next)
	if r.GetPatchType() == string(types.MergePatchType) {
		err = errors.Join(err, json.Unmarshal(r.GetPatch(), next)) // additions only
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	f.set(k, next, apiv1.EventType_EVENT_TYPE_MODIFIED)
	return next, nil
}

// selects tells whether a watch is about an object.
func selects(r *apiv1.WatchRequest, o kinds.Object) bool {
	if r.GetNamespace() != "" && r.GetNamespace() != o.GetNamespace() {
		return false
	}
	field, value, _ := strings.Cut(r.GetFieldSelector(), "=")
	switch field {
	case "spec.nodeName":
		p, ok := o.(*corev1.Pod)
		return ok && p.Spec.NodeName == value
	case "metadata.name":
		return o.GetName() == value
	}
	return true
}

func (f *fakeAPI) watch(k *kinds.Kind, s grpc.ServerStream) error {
	r := &apiv1.WatchRequest{}
	if err := s.RecvMsg(r); err != nil {
		return err
	}
	f.mu.Lock()
	var first []kinds.Object
	for key, o := range f.objects {
		if key == keyOf(k, o.GetNamespace(), o.GetName()) && selects(r, o) {
			first = append(first, o)
		}
	}
	at, version := len(f.log), f.version
	f.mu.Unlock()
	for _, o := range first {
		if err := send(s, apiv1.EventType_EVENT_TYPE_ADDED, o); err != nil {
			return err
		}
	}
	mark := k.New()
	mark.SetResourceVersion(strconv.Itoa(version))
	mark.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	if err := send(s, apiv1.EventType_EVENT_TYPE_BOOKMARK, mark); err != nil {
		return err
	}
	for {
		f.mu.Lock()
		fresh, changed := f.log[at:], f.changed
		at = len(f.log)
		f.mu.Unlock()
		for _, c := range fresh {
			if c.kind == k && selects(r, c.object) {
				if err := send(s, c.event, c.object); err != nil {
					return err
				}
			}
		}
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case <-changed:
		}
	}
}

func send(s grpc.ServerStream, event apiv1.EventType, o kinds.Object) error {
	b, err := o.Marshal()
	if err != nil {
		return err
	}
	return s.SendMsg(wire.EventFrame(event, b))
}
