package apitest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	"coracle.local/libs/serve"
	"coracle.local/libs/wire"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

// Connect serves the API over gRPC, in memory, until the test ends.
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
	cc, err := pipe.Dial(&user.DefaultInfo{Name: "system:kube-controller-manager"}, client.DialOptions()...)
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

// Until waits for a condition of what is stored.
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

func (a *API) handle(_ any, s grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(s)
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	for _, k := range kinds.All() {
		if k.Service() != service {
			continue
		}
		switch method {
		case "Watch":
			return a.watch(k, s)
		case "List":
			return a.list(k, s)
		case "DeleteCollection":
			r := &apiv1.DeleteCollectionRequest{}
			if err := s.RecvMsg(r); err != nil {
				return err
			}
			if err := a.DeleteCollection(s.Context(), k, r.GetList().GetNamespace(), options(r.GetOptions())); err != nil {
				return err
			}
			return s.SendMsg(&apiv1.DeleteCollectionResponse{})
		}
		o, err := a.answer(k, method, s)
		if err != nil {
			return err
		}
		return s.SendMsg(o)
	}
	return status.Errorf(codes.Unimplemented, "no service %s", service)
}

// answer serves the methods that answer with an object.
func (a *API) answer(k *kinds.Kind, method string, s grpc.ServerStream) (kinds.Object, error) {
	ctx := s.Context()
	switch method {
	case "Get":
		r := &apiv1.GetRequest{}
		if err := s.RecvMsg(r); err != nil {
			return nil, err
		}
		return a.Get(ctx, k, r.GetNamespace(), r.GetName())
	case "Delete":
		r := &apiv1.DeleteRequest{}
		if err := s.RecvMsg(r); err != nil {
			return nil, err
		}
		return k.New(), a.Delete(ctx, k, r.GetNamespace(), r.GetName(), options(r.GetOptions()))
	case "Patch":
		r := &apiv1.PatchRequest{}
		if err := s.RecvMsg(r); err != nil {
			return nil, err
		}
		return a.Patch(ctx, k, r.GetNamespace(), r.GetName(), types.PatchType(r.GetPatchType()), r.GetPatch(), r.GetSubresource())
	}
	w := &wire.Write[kinds.Object]{Object: k.New()}
	if err := s.RecvMsg(w); err != nil {
		return nil, err
	}
	switch method {
	case "Create":
		return a.Create(ctx, w.Object)
	case "Update":
		return a.Update(ctx, w.Object, w.Subresource)
	case "UpdateStatus":
		return a.Update(ctx, w.Object, "status")
	}
	return nil, status.Errorf(codes.Unimplemented, "no method %s", method)
}

func options(o *apiv1.DeleteOptions) metav1.DeleteOptions {
	out := metav1.DeleteOptions{GracePeriodSeconds: o.GracePeriodSeconds, Preconditions: &metav1.Preconditions{}}
	if p := metav1.DeletionPropagation(o.GetPropagationPolicy()); p != "" {
		out.PropagationPolicy = &p
	}
	if uid := types.UID(o.GetUid()); uid != "" {
		out.Preconditions.UID = &uid
	}
	if v := o.GetResourceVersion(); v != "" {
		out.Preconditions.ResourceVersion = &v
	}
	return out
}

func (a *API) list(k *kinds.Kind, s grpc.ServerStream) error {
	r := &apiv1.ListRequest{}
	if err := s.RecvMsg(r); err != nil {
		return err
	}
	objects, err := a.List(s.Context(), k, r.GetNamespace())
	if err != nil {
		return err
	}
	out := k.NewList()
	items := make([]runtime.Object, len(objects))
	for i, o := range objects {
		items[i] = o
	}
	if err := meta.SetList(out, items); err != nil {
		return err
	}
	m, err := meta.ListAccessor(out)
	if err != nil {
		return err
	}
	a.mu.Lock()
	m.SetResourceVersion(strconv.FormatInt(a.revision, 10))
	a.mu.Unlock()
	return s.SendMsg(out)
}

// watch streams a kind; of selectors it knows metadata.name alone, and takes
// others for all.
func (a *API) watch(k *kinds.Kind, s grpc.ServerStream) error {
	r := &apiv1.WatchRequest{}
	if err := s.RecvMsg(r); err != nil {
		return err
	}
	name, _ := strings.CutPrefix(r.GetFieldSelector(), "metadata.name=")
	if strings.Contains(name, "=") {
		name = ""
	}
	wanted := func(o kinds.Object) bool { return a.kindOf(o) == k && (name == "" || o.GetName() == name) }
	a.mu.Lock()
	var first []kinds.Object
	for _, o := range a.objects[k] {
		first = append(first, clone(o))
	}
	at, version := len(a.log), strconv.FormatInt(a.revision, 10)
	a.mu.Unlock()
	for _, o := range first {
		if wanted(o) {
			if err := send(s, apiv1.EventType_EVENT_TYPE_ADDED, o); err != nil {
				return err
			}
		}
	}
	mark := k.New()
	mark.SetResourceVersion(version)
	mark.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	if err := send(s, apiv1.EventType_EVENT_TYPE_BOOKMARK, mark); err != nil {
		return err
	}
	for {
		a.mu.Lock()
		fresh, changed := a.log[at:], a.changed
		at = len(a.log)
		a.mu.Unlock()
		for _, c := range fresh {
			event, o := apiv1.EventType_EVENT_TYPE_MODIFIED, c.after
			switch {
			case c.after == nil:
				event, o = apiv1.EventType_EVENT_TYPE_DELETED, c.before
			case c.before == nil:
				event = apiv1.EventType_EVENT_TYPE_ADDED
			}
			if wanted(o) {
				if err := send(s, event, o); err != nil {
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
