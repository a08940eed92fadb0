package app

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/bootstrap"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/registry"
)

// loopback is who writes what every cluster has.
var loopback = &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}}

// writers is how many bootstrap objects are written at once.
const writers = 32

// prepare makes sure that the objects of every cluster are there and up to
// date. Namespaces come first, the rest in parallel: there are over a hundred,
// and the server is not ready before.
func prepare(ctx context.Context, r *registry.Registry, objects []kinds.Object) error {
	ctx = auth.WithUser(ctx, loopback)
	var later []kinds.Object
	for _, o := range objects {
		if kinds.ForObject(o).Kind == "Namespace" {
			if err := ensure(ctx, r, o); err != nil {
				return err
			}
			continue
		}
		later = append(later, o)
	}
	errs := make([]error, len(later))
	slots := make(chan struct{}, writers)
	var group sync.WaitGroup
	for i, o := range later {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			errs[i] = ensure(ctx, r, o)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func ensure(ctx context.Context, r *registry.Registry, wanted kinds.Object) error {
	k := kinds.ForObject(wanted)
	namespace, name := wanted.GetNamespace(), wanted.GetName()
	err := write(ctx, r, k, r.Reads().Get(k, namespace, name), wanted)
	// Another API server over the same etcd does the same.
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("write %s %s: %w", k, name, err)
	}
	return nil
}

func write(ctx context.Context, r *registry.Registry, k *kinds.Kind, existing *cache.Item, wanted kinds.Object) error {
	namespace, name := wanted.GetNamespace(), wanted.GetName()
	if existing == nil {
		_, err := r.Create(ctx, k, namespace, wanted.DeepCopyObject().(kinds.Object), registry.WriteOptions{})
		return err
	}
	out, action := bootstrap.Reconcile(existing.Object(), wanted)
	switch action {
	case bootstrap.Update:
		_, _, err := r.Update(ctx, k, namespace, name, "", func(kinds.Object) (kinds.Object, error) { return out, nil }, registry.UpdateOptions{})
		return err
	case bootstrap.Recreate:
		if _, _, err := r.Delete(ctx, k, namespace, name, &metav1.DeleteOptions{}); err != nil {
			return err
		}
		_, err := r.Create(ctx, k, namespace, out, registry.WriteOptions{})
		return err
	}
	return nil
}
