// Package dangling says in the status of each FlowSchema whether the priority
// level that it refers to is there.
package dangling

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

// Manager is who sets the condition, as managed fields say it.
const Manager = "api-priority-and-fairness-config-consumer-v1"

// How long a schema waits whose status could not be written.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Controller writes the condition when a schema or its level comes, changes or
// goes. It observes both; use New.
type Controller struct {
	write Write
	log   *zap.Logger
	queue workqueue.TypedRateLimitingInterface[string]

	mu      sync.Mutex
	schemas map[string]func() kinds.Object
	levels  map[string]bool
}

// Write stores what change makes of a schema, through its status. A schema that is
// gone is NotFound.
type Write func(ctx context.Context, name string, change func(*flowcontrolv1.FlowSchema)) error

// New returns a controller.
func New(write Write, log *zap.Logger) *Controller {
	return &Controller{
		write: write, log: log,
		queue:   workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)),
		schemas: map[string]func() kinds.Object{}, levels: map[string]bool{},
	}
}

// Watches implements auth.Observer.
func (c *Controller) Watches() []*kinds.Kind {
	return []*kinds.Kind{kinds.For[*flowcontrolv1.PriorityLevelConfiguration](), kinds.For[*flowcontrolv1.FlowSchema]()}
}

// Observe implements auth.Observer.
func (c *Controller) Observe(change auth.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case change.Kind.Kind == "FlowSchema" && change.Object == nil:
		delete(c.schemas, change.Name)
	case change.Kind.Kind == "FlowSchema":
		c.schemas[change.Name] = change.Object
		c.queue.Add(change.Name)
	case c.levels[change.Name] != (change.Object != nil):
		c.levels[change.Name] = change.Object != nil
		for name := range c.schemas {
			c.queue.Add(name) // there are few, and most are right as they are
		}
	}
}

// Run works until ctx ends. It is for when the cluster's first levels are there:
// a schema is not to be told that its own is missing meanwhile.
func (c *Controller) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	wait.Go(func() {
		<-ctx.Done()
		c.queue.ShutDown()
	})
	defer wait.Wait()
	for {
		name, ended := c.queue.Get()
		if ended {
			return nil
		}
		if err := c.sync(ctx, name); err != nil && ctx.Err() == nil {
			c.log.Debug("status of flow schema is tried again", zap.String("flowschema", name), zap.Error(err))
			c.queue.AddRateLimited(name)
		} else {
			c.queue.Forget(name)
		}
		c.queue.Done(name)
	}
}

func (c *Controller) sync(ctx context.Context, name string) error {
	c.mu.Lock()
	object := c.schemas[name]
	c.mu.Unlock()
	if object == nil {
		return nil
	}
	if s, ok := object().(*flowcontrolv1.FlowSchema); !ok || has(s, c.verdict(s)) {
		return nil
	}
	err := c.write(ctx, name, func(s *flowcontrolv1.FlowSchema) {
		if want := c.verdict(s); !has(s, want) { // another server may have been faster
			set(s, want, metav1.Now())
		}
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// verdict is the condition that a schema should have.
func (c *Controller) verdict(s *flowcontrolv1.FlowSchema) flowcontrolv1.FlowSchemaCondition {
	level := s.Spec.PriorityLevelConfiguration.Name
	c.mu.Lock()
	found := c.levels[level]
	c.mu.Unlock()
	about := fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q", level)
	if found {
		return flowcontrolv1.FlowSchemaCondition{
			Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse,
			Reason: "Found", Message: about + " and it exists",
		}
	}
	return flowcontrolv1.FlowSchemaCondition{
		Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionTrue,
		Reason: "NotFound", Message: about + " but there is no such object",
	}
}

func has(s *flowcontrolv1.FlowSchema, want flowcontrolv1.FlowSchemaCondition) bool {
	return slices.ContainsFunc(s.Status.Conditions, func(have flowcontrolv1.FlowSchemaCondition) bool {
		have.LastTransitionTime = metav1.Time{}
		return have == want
	})
}

// owned is the condition in the form of managed fields.
const owned = `{"f:status":{"f:conditions":{"k:{\"type\":\"Dangling\"}":{".":{},"f:lastTransitionTime":{},"f:message":{},"f:reason":{},"f:status":{},"f:type":{}}}}}`

// set does what server-side apply of the condition would do. That needs the types
// of all kinds, which is a lot to load for this alone at every start.
func set(s *flowcontrolv1.FlowSchema, want flowcontrolv1.FlowSchemaCondition, now metav1.Time) {
	want.LastTransitionTime = now
	s.Status.Conditions = append(slices.DeleteFunc(s.Status.Conditions, func(have flowcontrolv1.FlowSchemaCondition) bool {
		return have.Type == want.Type
	}), want)
	s.ManagedFields = append(slices.DeleteFunc(s.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == Manager && e.Operation == metav1.ManagedFieldsOperationApply
	}), metav1.ManagedFieldsEntry{
		Manager: Manager, Operation: metav1.ManagedFieldsOperationApply, Subresource: "status",
		APIVersion: flowcontrolv1.SchemeGroupVersion.String(), Time: &now,
		FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(owned)},
	})
}
