package app

import (
	"context"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/dangling"
	"coracle.local/services/apiserver/internal/registry"
)

// newDangling makes what writes the status of FlowSchemas.
func (s *server) newDangling() *dangling.Controller {
	c := dangling.New(s.writeSchemaStatus, s.cfg.Log.Named("dangling"))
	observe(s.cache, c)
	return c
}

// judgeSchemas keeps that status once the cluster's first levels are there.
func (s *server) judgeSchemas(ctx context.Context) error {
	select {
	case <-s.ready:
		return s.dangling.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

func (s *server) writeSchemaStatus(ctx context.Context, name string, change func(*flowcontrolv1.FlowSchema)) error {
	k := kinds.For[*flowcontrolv1.FlowSchema]()
	_, _, err := s.registry.Update(auth.WithUser(ctx, loopback), k, "", name, "status", func(current kinds.Object) (kinds.Object, error) {
		change(current.(*flowcontrolv1.FlowSchema))
		return current, nil
	}, registry.UpdateOptions{Unconditional: true, WriteOptions: registry.WriteOptions{FieldManager: dangling.Manager}})
	return err
}
