package registry

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
)

// markDefinition begins the end of a CustomResourceDefinition: it always stays
// until its objects are gone, which its finalizer sees to.
func (r *Registry) markDefinition(d *apiextensionsv1.CustomResourceDefinition) {
	if d.DeletionTimestamp != nil {
		d.DeletionGracePeriodSeconds = ptr.To[int64](0) // as upstream's at the second request
		return
	}
	now := metav1.NewTime(r.Clock.Now()).Rfc3339Copy()
	d.DeletionTimestamp = &now
	if !slices.Contains(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		d.Finalizers = append(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	going := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, LastTransitionTime: now,
		Reason:  "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	}
	at := slices.IndexFunc(d.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Terminating
	})
	if at < 0 {
		d.Status.Conditions = append(d.Status.Conditions, going)
		return
	}
	d.Status.Conditions[at] = going
}

// Purge deletes every object of a kind, without asking admission: its definition
// goes. Finalizers keep what they keep.
func (r *Registry) Purge(ctx context.Context, k *kinds.Kind) error {
	if err := r.Cache.Fresh(ctx); err != nil {
		return err
	}
	items, _ := r.Cache.Candidates(stored(k), cache.Selector{}, "")
	var group errgroup.Group
	group.SetLimit(deleteWorkers)
	for _, i := range items {
		group.Go(func() error {
			o := &metav1.DeleteOptions{}
			w := deletionOf(k, i.Namespace, i.Name, o)
			w.judged = true
			_, _, err := r.end(ctx, w, o)
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	return group.Wait()
}
