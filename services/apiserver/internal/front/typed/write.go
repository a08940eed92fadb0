package typed

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/libs/wire"
	apiv1 "coracle.local/proto/coracle/api/v1"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/front/patches"
	"coracle.local/services/apiserver/internal/registry"
)

func (f *front) write(decode func(any) error) (*wire.Write[kinds.Object], error) {
	w := &wire.Write[kinds.Object]{Object: f.kind.New()}
	if err := decode(w); err != nil {
		return nil, malformed(err)
	}
	return w, nil
}

func writeOptions(ctx context.Context, o *apiv1.WriteOptions) registry.WriteOptions {
	return registry.WriteOptions{DryRun: o.GetDryRun(), FieldManager: manager(ctx, o.GetFieldManager())}
}

func (f *front) create(ctx context.Context, decode func(any) error) (any, error) {
	w, err := f.write(decode)
	if err != nil {
		return nil, err
	}
	namespace := w.Object.GetNamespace()
	ctx, err = f.admit(ctx, action{verb: "create", namespace: namespace})
	if err != nil {
		return nil, err
	}
	if f.kind.Kind == "Binding" {
		return nil, apierrors.NewMethodNotSupported(f.kind.GroupResource(), "create over gRPC: use PodService.Bind")
	}
	if !f.kind.Stored() {
		return f.Reviews.Review(ctx, f.kind, namespace, w.Object)
	}
	o := writeOptions(ctx, w.Options)
	o.Options = &metav1.CreateOptions{FieldManager: o.FieldManager, DryRun: dryRun(o.DryRun)}
	f.created(w.Object, o)
	return f.Registry.Create(ctx, f.kind, namespace, w.Object, o)
}

func dryRun(is bool) []string {
	if is {
		return []string{metav1.DryRunAll}
	}
	return nil
}

func (f *front) update(ctx context.Context, decode func(any) error) (any, error) {
	w, err := f.write(decode)
	if err != nil {
		return nil, err
	}
	return f.replace(ctx, w, w.Subresource)
}

func (f *front) updateStatus(ctx context.Context, decode func(any) error) (any, error) {
	w, err := f.write(decode)
	if err != nil {
		return nil, err
	}
	return f.replace(ctx, w, "status")
}

func (f *front) replace(ctx context.Context, w *wire.Write[kinds.Object], subresource string) (any, error) {
	namespace, name := w.Object.GetNamespace(), w.Object.GetName()
	if err := f.changes(subresource); err != nil {
		return nil, err
	}
	ctx, err := f.admit(ctx, action{verb: "update", namespace: namespace, name: name, subresource: subresource})
	if err != nil {
		return nil, err
	}
	o := writeOptions(ctx, w.Options)
	o.Options = &metav1.UpdateOptions{FieldManager: o.FieldManager, DryRun: dryRun(o.DryRun)}
	obj, _, err := f.Registry.Update(ctx, f.kind, namespace, name, subresource, func(current kinds.Object) (kinds.Object, error) {
		if err := f.mayCreate(ctx, namespace, name, current); err != nil {
			return nil, err
		}
		// A retry must not see what an earlier try made of it.
		obj := w.Object.DeepCopyObject().(kinds.Object)
		if len(obj.GetManagedFields()) == 0 {
			// Our components' informers drop them; that is no wish to lose them.
			obj.SetManagedFields(current.GetManagedFields())
		}
		f.updated(subresource, current, obj, o)
		return obj, nil
	}, registry.UpdateOptions{WriteOptions: o})
	if err != nil {
		return nil, err
	}
	return obj, nil
}

// changes refuses a subresource through which the object cannot be changed: the
// right to use another one is no right to change the object.
func (f *front) changes(subresource string) error {
	s := f.Registry.Strategy(f.kind)
	switch {
	case subresource == "", subresource == "status" && s.Status != nil, s.Subresources[subresource] != nil:
		return nil
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%s cannot be changed through %q", f.kind.Plural, subresource))
}

// mayCreate refuses an update that would create, if the user may only update.
func (f *front) mayCreate(ctx context.Context, namespace, name string, current kinds.Object) error {
	if current.GetUID() != "" {
		return nil
	}
	record := f.record(action{verb: "create", namespace: namespace, name: name})
	record.User = auth.User(ctx)
	return f.Guard.Authorize(ctx, record)
}

func (f *front) patch(ctx context.Context, decode func(any) error) (any, error) {
	q := &apiv1.PatchRequest{}
	if err := decode(q); err != nil {
		return nil, malformed(err)
	}
	if err := f.changes(q.Subresource); err != nil {
		return nil, err
	}
	ctx, err := f.admit(ctx, action{verb: "patch", namespace: q.Namespace, name: q.Name, subresource: q.Subresource})
	if err != nil {
		return nil, err
	}
	p, err := patchOf(f.kind, q)
	if err != nil {
		return nil, err
	}
	o := writeOptions(ctx, q.Options)
	o.Options = &metav1.PatchOptions{FieldManager: o.FieldManager, DryRun: dryRun(o.DryRun)}
	obj, _, err := f.Registry.Update(ctx, f.kind, q.Namespace, q.Name, q.Subresource, func(current kinds.Object) (kinds.Object, error) {
		if current.GetUID() == "" {
			return nil, apierrors.NewNotFound(f.kind.GroupResource(), q.Name)
		}
		patched, _, err := p.Apply(current)
		if err != nil {
			return nil, err
		}
		next := patched.(kinds.Object)
		f.updated(q.Subresource, current, next, o)
		return next, nil
	}, registry.UpdateOptions{WriteOptions: o, Unconditional: true})
	if err != nil {
		return nil, err
	}
	return obj, nil
}

// patchOf is a request's patch. Unknown fields are not looked for: who speaks gRPC
// has the types.
func patchOf(k *kinds.Kind, q *apiv1.PatchRequest) (*patches.Patch, error) {
	switch t := types.PatchType(q.PatchType); t {
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType:
		p := &patches.Patch{Type: t, Data: q.Patch, Kind: k.GroupVersionKind(), New: func() runtime.Object { return k.New() }}
		return p, p.Check()
	}
	return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s, %s, %s",
			types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType),
	}}
}

func deleteOptions(o *apiv1.DeleteOptions) *metav1.DeleteOptions {
	out := &metav1.DeleteOptions{}
	if o == nil {
		return out
	}
	out.GracePeriodSeconds = o.GracePeriodSeconds
	out.DryRun = dryRun(o.DryRun)
	if o.PropagationPolicy != "" {
		p := metav1.DeletionPropagation(o.PropagationPolicy)
		out.PropagationPolicy = &p
	}
	if o.Uid != "" || o.ResourceVersion != "" {
		out.Preconditions = &metav1.Preconditions{}
	}
	if o.Uid != "" {
		uid := types.UID(o.Uid)
		out.Preconditions.UID = &uid
	}
	if o.ResourceVersion != "" {
		out.Preconditions.ResourceVersion = &o.ResourceVersion
	}
	return out
}

func (f *front) delete(ctx context.Context, decode func(any) error) (any, error) {
	q := &apiv1.DeleteRequest{}
	if err := decode(q); err != nil {
		return nil, malformed(err)
	}
	ctx, err := f.admit(ctx, action{verb: "delete", namespace: q.Namespace, name: q.Name})
	if err != nil {
		return nil, err
	}
	obj, _, err := f.Registry.Delete(ctx, f.kind, q.Namespace, q.Name, deleteOptions(q.Options))
	if err != nil {
		return nil, err
	}
	return obj, nil
}

func (f *front) deleteCollection(ctx context.Context, decode func(any) error) (any, error) {
	q := &apiv1.DeleteCollectionRequest{}
	if err := decode(q); err != nil {
		return nil, malformed(err)
	}
	o, err := f.listOptions(q.List)
	if err != nil {
		return nil, err
	}
	ctx, err = f.admit(ctx, selecting("deletecollection", o.Namespace, o.Labels, o.Fields))
	if err != nil {
		return nil, err
	}
	deleted, _, err := f.Registry.DeleteCollection(ctx, f.kind, o, deleteOptions(q.Options))
	if err != nil {
		return nil, err
	}
	return &apiv1.DeleteCollectionResponse{Count: int64(len(deleted))}, nil
}

func (f *front) evict(ctx context.Context, decode func(any) error) (any, error) {
	q := &apiv1.EvictRequest{}
	if err := decode(q); err != nil {
		return nil, malformed(err)
	}
	ctx, err := f.admit(ctx, action{verb: "create", namespace: q.Namespace, name: q.Name, subresource: "eviction"})
	if err != nil {
		return nil, err
	}
	e := &policyv1.Eviction{DeleteOptions: deleteOptions(q.Options)}
	e.Namespace, e.Name = q.Namespace, q.Name
	return &apiv1.EvictResponse{}, f.Registry.Evict(ctx, q.Namespace, e)
}

func (f *front) createToken(ctx context.Context, decode func(any) error) (any, error) {
	w := &wire.Write[*authenticationv1.TokenRequest]{Object: &authenticationv1.TokenRequest{}}
	if err := decode(w); err != nil {
		return nil, malformed(err)
	}
	namespace, account := w.Object.Namespace, w.Object.Name
	if strings.TrimSpace(account) == "" {
		return nil, apierrors.NewBadRequest("the token request's metadata.name must name a service account")
	}
	ctx, err := f.admit(ctx, action{verb: "create", namespace: namespace, name: account, subresource: "token"})
	if err != nil {
		return nil, err
	}
	return f.Reviews.Token(ctx, namespace, account, w.Object)
}
