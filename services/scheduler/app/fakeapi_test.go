package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	"coracle.local/libs/serve"
	"coracle.local/libs/wire"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

// fakeAPI is an API server in memory: typed services of every kind with
// watches, optimistic concurrency and the bind stream. It validates nothing and
// ignores selectors.
type fakeAPI struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	version int
	objects map[string]kinds.Object // by kind/namespace/name
	log     []change

	// breakAfter ends bind streams after so many bindings, without answering the
	// last of them.
	breakAfter int
	bindings   int
}

type change struct {
	kind   *kinds.Kind
	event  apiv1.EventType
	object kinds.Object
}

func newFakeAPI() *fakeAPI {
	return &fakeAPI{changed: make(chan struct{}), objects: map[string]kinds.Object{}, breakAfter: -1}
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
	cc, err := pipe.Dial(&user.DefaultInfo{Name: "system:kube-scheduler"}, client.DialOptions()...)
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
	key := keyOf(k, o.GetNamespace(), o.GetName())
	if event == apiv1.EventType_EVENT_TYPE_DELETED {
		delete(f.objects, key)
	} else {
		f.objects[key] = o
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

// all lists the objects of a type.
func all[T kinds.Object](f *fakeAPI) []T {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []T
	for _, o := range f.objects {
		if t, ok := o.(T); ok {
			list = append(list, t)
		}
	}
	return list
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
	switch method {
	case "Watch":
		return f.watch(k, s)
	case "Bind":
		return f.bind(k, s)
	case "Get", "Delete":
		r := &apiv1.GetRequest{}
		if err := s.RecvMsg(r); err != nil {
			return err
		}
		return f.reply(s, func() (kinds.Object, error) { return f.one(k, method, r) })
	case "Create", "Update":
		w := &wire.Write[kinds.Object]{Object: k.New()}
		if err := s.RecvMsg(w); err != nil {
			return err
		}
		return f.reply(s, func() (kinds.Object, error) { return f.write(k, method, w.Object) })
	case "Patch":
		r := &apiv1.PatchRequest{}
		if err := s.RecvMsg(r); err != nil {
			return err
		}
		return f.reply(s, func() (kinds.Object, error) { return f.patch(k, r) })
	default:
		return status.Errorf(codes.Unimplemented, "no method %s", method)
	}
}

func (f *fakeAPI) reply(s grpc.ServerStream, act func() (kinds.Object, error)) error {
	f.mu.Lock()
	o, err := act()
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return s.SendMsg(o)
}

func (f *fakeAPI) one(k *kinds.Kind, method string, r *apiv1.GetRequest) (kinds.Object, error) {
	o, ok := f.objects[keyOf(k, r.GetNamespace(), r.GetName())]
	if !ok {
		return nil, apierrors.NewNotFound(k.GroupResource(), r.GetName())
	}
	if method == "Delete" {
		o = copyOf(k, o)
		f.set(k, o, apiv1.EventType_EVENT_TYPE_DELETED)
	}
	return o, nil
}

func copyOf(k *kinds.Kind, o kinds.Object) kinds.Object {
	b, err := o.Marshal()
	if err != nil {
		panic(err)
	}
	next := k.New()
	if err := next.Unmarshal(b); err != nil {
		panic(err)
	}
	return next
}

func (f *fakeAPI) write(k *kinds.Kind, method string, o kinds.Object) (kinds.Object, error) {
	old, exists := f.objects[keyOf(k, o.GetNamespace(), o.GetName())]
	switch {
	case method == "Create" && exists:
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), o.GetName())
	case method == "Create":
		f.set(k, o, apiv1.EventType_EVENT_TYPE_ADDED)
	case !exists:
		return nil, apierrors.NewNotFound(k.GroupResource(), o.GetName())
	case o.GetResourceVersion() != "" && o.GetResourceVersion() != old.GetResourceVersion():
		return nil, apierrors.NewConflict(k.GroupResource(), o.GetName(), errors.New("it has changed"))
	default:
		f.set(k, o, apiv1.EventType_EVENT_TYPE_MODIFIED)
	}
	return o, nil
}

func (f *fakeAPI) patch(k *kinds.Kind, r *apiv1.PatchRequest) (kinds.Object, error) {
	old, ok := f.objects[keyOf(k, r.GetNamespace(), r.GetName())]
	if !ok {
		return nil, apierrors.NewNotFound(k.GroupResource(), r.GetName())
	}
	before, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, r.GetPatch(), old)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	next := k.New()
	if err := json.Unmarshal(after, next); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	f.set(k, next, apiv1.EventType_EVENT_TYPE_MODIFIED)
	return next, nil
}

func (f *fakeAPI) watch(k *kinds.Kind, s grpc.ServerStream) error {
	r := &apiv1.WatchRequest{}
	if err := s.RecvMsg(r); err != nil {
		return err
	}
	f.mu.Lock()
	var first []kinds.Object
	for _, o := range f.objects {
		if keyOf(k, o.GetNamespace(), o.GetName()) != "" && f.objects[keyOf(k, o.GetNamespace(), o.GetName())] == o {
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
			if c.kind == k {
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

func (f *fakeAPI) bind(k *kinds.Kind, s grpc.ServerStream) error {
	for {
		r := &apiv1.BindRequest{}
		if err := s.RecvMsg(r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		result := &apiv1.BindResult{Uid: r.GetUid()}
		f.mu.Lock()
		f.bindings++
		broken := f.bindings == f.breakAfter
		p, ok := f.objects[keyOf(k, r.GetNamespace(), r.GetName())].(*corev1.Pod)
		switch {
		case !ok || string(p.UID) != r.GetUid():
			result.Reason, result.Message = string(metav1.StatusReasonNotFound), "no such pod"
		case p.Spec.NodeName != "":
			result.Reason = string(metav1.StatusReasonConflict)
			result.Message = fmt.Sprintf("pod %s is already assigned to node %q", p.Name, p.Spec.NodeName)
		default:
			next := p.DeepCopy()
			next.Spec.NodeName = r.GetNode()
			f.set(k, next, apiv1.EventType_EVENT_TYPE_MODIFIED)
		}
		f.mu.Unlock()
		if broken {
			return status.Error(codes.Unavailable, "the stream breaks")
		}
		if err := s.SendMsg(result); err != nil {
			return err
		}
	}
}
