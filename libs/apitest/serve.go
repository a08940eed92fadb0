package apitest

import (
	"encoding/json"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

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
	receive := func(m any, act func() (kinds.Object, error)) error {
		if err := s.RecvMsg(m); err != nil {
			return err
		}
		a.mu.Lock()
		o, err := act()
		a.mu.Unlock()
		if err != nil {
			return err
		}
		return s.SendMsg(o)
	}
	switch method {
	case "Watch":
		return a.watch(k, s)
	case "Bind":
		return a.bind(k, s)
	case "Get":
		r := &apiv1.GetRequest{}
		return receive(r, func() (kinds.Object, error) { return a.find(k, r.GetNamespace(), r.GetName()) })
	case "Delete":
		r := &apiv1.DeleteRequest{}
		return receive(r, func() (kinds.Object, error) { return a.delete(k, r) })
	case "Create", "Update":
		w := &wire.Write[kinds.Object]{Object: k.New()}
		return receive(w, func() (kinds.Object, error) { return a.write(k, method, w.Object) })
	case "Patch":
		r := &apiv1.PatchRequest{}
		return receive(r, func() (kinds.Object, error) { return a.patch(k, r) })
	}
	return status.Errorf(codes.Unimplemented, "no method %s", method)
}

func (a *API) find(k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	if o, ok := a.objects[keyOf(k, namespace, name)]; ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(k.GroupResource(), name)
}

func (a *API) delete(k *kinds.Kind, r *apiv1.DeleteRequest) (kinds.Object, error) {
	o, err := a.find(k, r.GetNamespace(), r.GetName())
	if err != nil {
		return nil, err
	}
	if want := r.GetOptions().GetUid(); want != "" && want != string(o.GetUID()) {
		return nil, apierrors.NewConflict(k.GroupResource(), r.GetName(), errors.New("another UID"))
	}
	a.set(k, o.DeepCopyObject().(kinds.Object), apiv1.EventType_EVENT_TYPE_DELETED)
	return o, nil
}

func (a *API) write(k *kinds.Kind, method string, o kinds.Object) (kinds.Object, error) {
	old, err := a.find(k, o.GetNamespace(), o.GetName())
	switch {
	case method == "Create" && err == nil:
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), o.GetName())
	case method == "Create":
		a.set(k, o, apiv1.EventType_EVENT_TYPE_ADDED)
	case err != nil:
		return nil, err
	case o.GetResourceVersion() != "" && o.GetResourceVersion() != old.GetResourceVersion():
		return nil, apierrors.NewConflict(k.GroupResource(), o.GetName(), errors.New("it has changed"))
	default:
		a.set(k, o, apiv1.EventType_EVENT_TYPE_MODIFIED)
	}
	return o, nil
}

func (a *API) patch(k *kinds.Kind, r *apiv1.PatchRequest) (kinds.Object, error) {
	old, err := a.find(k, r.GetNamespace(), r.GetName())
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
	a.set(k, next, apiv1.EventType_EVENT_TYPE_MODIFIED)
	return next, nil
}
