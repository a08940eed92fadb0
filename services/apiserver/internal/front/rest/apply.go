package rest

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/body"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/patches"
	"coracle.local/services/apiserver/internal/registry"
)

// applyTries is how often an apply goes back and forth between creating and
// updating, while others delete and create the object.
const applyTries = 5

// apply merges a configuration into an object, or creates the object from it.
func (c *call) apply(subresource string, p *patches.Patch, o *metav1.PatchOptions, out negotiate.Output) error {
	config, twice, err := managed.Read(p.Data)
	if err != nil {
		return err
	}
	force := o.Force != nil && *o.Force
	merge := func(current kinds.Object) (kinds.Object, error) {
		next, err := c.managed.Apply(c.kind, subresource, current, config, o.FieldManager, force)
		if err != nil {
			return nil, err
		}
		if twice != nil && p.Strictness == body.Strict {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding patch: %v", twice))
		}
		if twice != nil && p.Strictness == body.Warn {
			c.warn(body.Warnings([]error{twice}))
		}
		if next.GetUID() != "" && current.GetUID() == "" {
			return nil, apierrors.NewConflict(c.kind.GroupResource(), c.t.Name, fmt.Errorf(
				"uid mismatch: the provided object specified uid %s, and no existing object was found", next.GetUID()))
		}
		if err := c.place(next); err != nil {
			return nil, err
		}
		if err := c.named(next); err != nil {
			return nil, err
		}
		if config.GetResourceVersion() == "" {
			next.SetResourceVersion("") // it holds for whatever version there is
		}
		return next, nil
	}
	options := patchOptions(o, o.FieldManager, c.dryRun)
	for try := 1; ; try++ {
		next, created, err := c.Registry.Update(c.ctx(), c.kind, c.namespace, c.t.Name, subresource, merge, options)
		if apierrors.IsNotFound(err) && subresource == "" {
			created = true
			next, err = c.createByApply(merge, o)
			if apierrors.IsAlreadyExists(err) && try < applyTries {
				continue
			}
		}
		if err != nil {
			return err
		}
		return c.object(out, written(created), next)
	}
}

// createByApply makes the object that a configuration describes.
func (c *call) createByApply(merge registry.Change, o *metav1.PatchOptions) (kinds.Object, error) {
	empty := c.kind.New()
	if err := c.mayCreate(empty); err != nil {
		return nil, err
	}
	next, err := merge(empty)
	if err != nil {
		return nil, err
	}
	next.SetResourceVersion("")
	return c.Registry.Create(c.ctx(), c.kind, c.namespace, next, registry.WriteOptions{
		DryRun: c.dryRun, FieldManager: o.FieldManager, Options: &metav1.CreateOptions{
			TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "CreateOptions"},
			DryRun:   o.DryRun, FieldManager: o.FieldManager, FieldValidation: o.FieldValidation,
		},
	})
}
