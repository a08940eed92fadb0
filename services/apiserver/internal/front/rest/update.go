package rest

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/front/body"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/patches"
	"coracle.local/services/apiserver/internal/front/rest/query"
	"coracle.local/services/apiserver/internal/registry"
)

// replace puts the body in an object's place.
func (c *call) replace(subresource string) error {
	out, err := c.accept(negotiate.Objects)
	if err != nil {
		return err
	}
	o, err := query.ForUpdate(c.values)
	if err != nil {
		return err
	}
	c.dryRun = len(o.DryRun) > 0
	obj := c.kind.New()
	if err := c.decode(body.Expected{Kind: c.kind.GroupVersionKind()}, obj, o.FieldValidation); err != nil {
		return err
	}
	c.complete(obj)
	c.sent(obj, c.kind.GroupVersionKind())
	if err := c.place(obj); err != nil {
		return err
	}
	if err := c.named(obj); err != nil {
		return err
	}
	c.dedupOwners(obj)
	who := manager(o.FieldManager, c.r)
	change := func(current kinds.Object) (kinds.Object, error) {
		if err := c.mayCreate(current); err != nil {
			return nil, err
		}
		// A retry must not see what an earlier try made of the body.
		next := obj.DeepCopyObject().(kinds.Object)
		c.managed.Updated(c.kind, subresource, current, next, who)
		return next, nil
	}
	updated, created, err := c.Registry.Update(c.ctx(), c.kind, c.namespace, c.t.Name, subresource, change, registry.UpdateOptions{
		WriteOptions: registry.WriteOptions{DryRun: c.dryRun, FieldManager: who, Options: o},
	})
	if err != nil {
		return err
	}
	return c.object(out, written(created), updated)
}

func written(created bool) int {
	if created {
		return http.StatusCreated
	}
	return http.StatusOK
}

// mayCreate refuses an update that would create, if the user may only update.
func (c *call) mayCreate(current kinds.Object) error {
	if current.GetUID() != "" {
		return nil
	}
	a := c.t.Attributes()
	a.Verb, a.User = "create", auth.User(c.ctx())
	return c.Guard.Authorize(c.ctx(), a)
}

// patch changes an object by the body.
func (c *call) patch(subresource string) error {
	p, o, out, err := c.patchOf(func() runtime.Object { return c.kind.New() })
	if err != nil {
		return err
	}
	if p.Type == types.ApplyYAMLPatchType {
		return c.apply(subresource, p, o, out)
	}
	who := manager(o.FieldManager, c.r)
	conditional := p.SetsVersion()
	change := func(current kinds.Object) (kinds.Object, error) {
		if current.GetUID() == "" {
			return nil, apierrors.NewNotFound(c.kind.GroupResource(), c.t.Name)
		}
		patched, texts, err := p.Apply(current)
		if err != nil {
			return nil, err
		}
		c.warn(texts)
		next := patched.(kinds.Object)
		if err := c.place(next); err != nil {
			return nil, err
		}
		if err := c.named(next); err != nil {
			return nil, err
		}
		c.complete(next)
		c.managed.Updated(c.kind, subresource, current, next, who)
		if next.GetResourceVersion() == "" && !c.Registry.Strategy(c.kind).AllowUnconditionalUpdate {
			return nil, registry.VersionRequired(c.kind, c.t.Name)
		}
		if !conditional {
			// The patch is for whatever version there is; without one the
			// registry tries again if another write comes first.
			next.SetResourceVersion("")
		}
		c.dedupOwners(next)
		return next, nil
	}
	updated, _, err := c.Registry.Update(c.ctx(), c.kind, c.namespace, c.t.Name, subresource, change, patchOptions(o, who, c.dryRun))
	if err != nil {
		return err
	}
	return c.object(out, http.StatusOK, updated)
}

func patchOptions(o *metav1.PatchOptions, who string, dryRun bool) registry.UpdateOptions {
	return registry.UpdateOptions{
		WriteOptions: registry.WriteOptions{DryRun: dryRun, FieldManager: who, Options: &metav1.UpdateOptions{
			TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "UpdateOptions"},
			DryRun:   o.DryRun, FieldManager: o.FieldManager, FieldValidation: o.FieldValidation,
		}},
		Unconditional: true,
	}
}

// patchOf reads the request's patch and its options.
func (c *call) patchOf(make func() runtime.Object) (*patches.Patch, *metav1.PatchOptions, negotiate.Output, error) {
	t, err := c.patchType()
	if err != nil {
		return nil, nil, negotiate.Output{}, err
	}
	out, err := c.accept(negotiate.Objects)
	if err != nil {
		return nil, nil, out, err
	}
	data, err := c.read()
	if err != nil {
		return nil, nil, out, err
	}
	o, err := query.ForPatch(c.values, t)
	if err != nil {
		return nil, nil, out, err
	}
	c.dryRun = len(o.DryRun) > 0
	audit.Patch(c.ctx(), data)
	p := &patches.Patch{
		Type: t, Data: data, Kind: c.kind.GroupVersionKind(), New: make,
		Strictness: body.StrictnessOf(o.FieldValidation), Read: c.readers(),
	}
	return p, o, out, p.Check()
}
