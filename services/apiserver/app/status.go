package app

import (
	"context"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/dangling"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/registry"
)

// newDangling makes what writes the status of FlowSchemas.
func (s *server) newDangling() *dangling.Controller {
	c := dangling.New(func(ctx context.Context, name string, change func(*flowcontrolv1.FlowSchema) bool) error {
		return applyStatus(ctx, s, name, dangling.Manager, change, func(f *flowcontrolv1.FlowSchema) any { return &f.Status })
	}, s.cfg.Log.Named("dangling"))
	observe(s.cache, c)
	return c
}

// judgeSchemas keeps the status of FlowSchemas once there are any.
func (s *server) judgeSchemas(ctx context.Context) error {
	select {
	case <-s.ready:
		return s.dangling.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// applyStatus makes the status of an object without a namespace what change makes
// of it, as server-side apply by a manager would.
func applyStatus[T kinds.Object](ctx context.Context, s *server, name, manager string, change func(T) bool, status func(T) any) error {
	k := kinds.For[T]()
	_, _, err := s.registry.Update(auth.WithUser(ctx, loopback), k, "", name, "status", func(current kinds.Object) (kinds.Object, error) {
		wanted := current.DeepCopyObject().(T)
		if !change(wanted) {
			return current, nil
		}
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status(wanted))
		if err != nil {
			return nil, err
		}
		config := &unstructured.Unstructured{Object: map[string]any{"status": fields}}
		config.SetGroupVersionKind(k.GroupVersionKind())
		config.SetName(name)
		return managed.New(s.registry).Apply(k, "status", current, config, manager, true)
	}, registry.UpdateOptions{Unconditional: true, WriteOptions: registry.WriteOptions{FieldManager: manager}})
	return err
}
