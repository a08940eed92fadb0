package definitions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/apiserver/internal/cache"
)

// patience is how long the objects of a definition may take to go before its
// status says that they do not.
const patience = time.Minute

// errWaiting says that objects have not gone yet.
var errWaiting = errors.New("objects of the definition are not gone yet")

// finalize deletes the objects of a definition that is going, and then lets it
// go.
func (c *Controller) finalize(ctx context.Context, d definition) error {
	if d.DeletionTimestamp == nil || !slices.Contains(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		return nil
	}
	began, known := c.ending[d.Name]
	if !known {
		began = c.Clock.Now()
		c.ending[d.Name] = began
		told := going(apiextensionsv1.ConditionTrue, "InstanceDeletionInProgress", "CustomResource deletion is in progress")
		if !tells(d, told) {
			return c.report(ctx, d, told) // which brings the definition here again
		}
	}
	left, err := c.purge(ctx, d)
	switch {
	case err != nil:
		return errors.Join(err, c.report(ctx, d, going(apiextensionsv1.ConditionTrue, "InstanceDeletionFailed",
			fmt.Sprintf("could not issue all deletes: %v", err))))
	case left && c.Clock.Since(began) > patience:
		return errors.Join(errWaiting, c.report(ctx, d, going(apiextensionsv1.ConditionTrue, "InstanceDeletionCheck",
			fmt.Sprintf("could not confirm zero CustomResources remaining: %v", context.DeadlineExceeded))))
	case left:
		return errWaiting
	}
	done := going(apiextensionsv1.ConditionFalse, "InstanceDeletionCompleted", "removed all instances")
	if !is(&d.Status, apiextensionsv1.Established) {
		done.Reason, done.Message = "NeverEstablished", "resource was never established"
	}
	return dropConflict(c.write(ctx, d, func(now definition) {
		set(&now.Status, done, c.now())
		now.Finalizers = slices.DeleteFunc(now.Finalizers, func(f string) bool { return f == apiextensionsv1.CustomResourceCleanupFinalizer })
	}))
}

func (c *Controller) now() metav1.Time { return metav1.NewTime(c.Clock.Now()).Rfc3339Copy() }

func going(s apiextensionsv1.ConditionStatus, reason, message string) condition {
	return condition{Type: apiextensionsv1.Terminating, Status: s, Reason: reason, Message: message}
}

// report says in the status how the deletion gets on.
func (c *Controller) report(ctx context.Context, d definition, now condition) error {
	if tells(d, now) {
		return nil
	}
	return dropConflict(c.write(ctx, d, func(current definition) { set(&current.Status, now, c.now()) }))
}

// tells whether a definition's status has a condition already.
func tells(d definition, c condition) bool {
	have := find(&d.Status, c.Type)
	return have != nil && have.Status == c.Status && have.Reason == c.Reason && have.Message == c.Message
}

// purge deletes all objects of a definition, and tells whether some are left:
// finalizers may keep them.
func (c *Controller) purge(ctx context.Context, d definition) (left bool, err error) {
	s := c.served[d.Name]
	if s == nil {
		return false, nil
	}
	k := s.entry.Definition.Storage()
	if err := c.Registry.Purge(ctx, k); err != nil {
		return true, err
	}
	c.Cache.List(k, cache.Selector{}, "", func(*cache.Item) bool {
		left = true
		return false
	})
	return left, nil
}
