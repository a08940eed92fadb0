package apitest

import (
	"context"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/libs/wire"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

func (a *API) handle(_ any, s grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(s)
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	for _, k := range kinds.All() {
		if k.Service() == service {
			return a.serve(k, method, s)
		}
	}
	return status.Errorf(codes.Unimplemented, "no service %s", service)
}

func (a *API) serve(k *kinds.Kind, method string, s grpc.ServerStream) error {
	ctx := s.Context()
	answer := func(request any, act func() (any, error)) error {
		if err := s.RecvMsg(request); err != nil {
			return err
		}
		m, err := act()
		if err != nil {
			return err
		}
		return s.SendMsg(m)
	}
	w := &wire.Write[kinds.Object]{Object: k.New()}
	switch method {
	case "Watch":
		return a.watch(k, s)
	case "Bind":
		return a.bind(k, s)
	case "Get":
		r := &apiv1.GetRequest{}
		return answer(r, func() (any, error) { return a.Get(ctx, k, r.GetNamespace(), r.GetName()) })
	case "List":
		r := &apiv1.ListRequest{}
		return answer(r, func() (any, error) { return a.list(ctx, k, r.GetNamespace()) })
	case "Create":
		return answer(w, func() (any, error) { return a.Create(ctx, w.Object) })
	case "Update":
		return answer(w, func() (any, error) { return a.Update(ctx, w.Object, w.Subresource) })
	case "UpdateStatus":
		return answer(w, func() (any, error) { return a.Update(ctx, w.Object, "status") })
	case "Patch":
		r := &apiv1.PatchRequest{}
		return answer(r, func() (any, error) {
			return a.Patch(ctx, k, r.GetNamespace(), r.GetName(), types.PatchType(r.GetPatchType()), r.GetPatch(), r.GetSubresource())
		})
	case "Delete":
		r := &apiv1.DeleteRequest{}
		return answer(r, func() (any, error) {
			return k.New(), a.Delete(ctx, k, r.GetNamespace(), r.GetName(), options(r.GetOptions()))
		})
	case "DeleteCollection":
		r := &apiv1.DeleteCollectionRequest{}
		return answer(r, func() (any, error) {
			return &apiv1.DeleteCollectionResponse{}, a.DeleteCollection(ctx, k, r.GetList().GetNamespace(), options(r.GetOptions()))
		})
	}
	return status.Errorf(codes.Unimplemented, "no method %s", method)
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

func (a *API) list(ctx context.Context, k *kinds.Kind, namespace string) (any, error) {
	objects, err := a.List(ctx, k, namespace)
	if err != nil {
		return nil, err
	}
	out := k.NewList()
	items := make([]runtime.Object, len(objects))
	for i, o := range objects {
		items[i] = o
	}
	if err := meta.SetList(out, items); err != nil {
		return nil, err
	}
	m, err := meta.ListAccessor(out)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	m.SetResourceVersion(strconv.FormatInt(a.revision, 10))
	return out, nil
}
