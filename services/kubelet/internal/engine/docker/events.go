package docker

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/events"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/engine"
)

// Events reports pods with a container that started, ended or was removed.
func (r *Runtime) Events(ctx context.Context) (<-chan engine.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	messages, errs := r.calls.events(ctx, r.selector(),
		events.ActionStart, events.ActionDie, events.ActionOOM, events.ActionDestroy)
	select {
	case err := <-errs:
		cancel()
		return nil, fmt.Errorf("subscribe to events: %w", err)
	default:
	}
	out := make(chan engine.Event)
	go func() {
		defer close(out)
		defer cancel()
		for {
			select {
			case message := <-messages:
				if message.Action == events.ActionOOM {
					r.forgetEnd(message.Actor.ID)
				}
				event := engine.Event{PodUID: types.UID(message.Actor.Attributes[labelUID])}
				select {
				case out <- event:
				case <-ctx.Done():
					return
				}
			case err := <-errs:
				if ctx.Err() == nil {
					r.log.Warn("lost the engine's events", zap.Error(err))
				}
				return
			}
		}
	}()
	return out, nil
}

// forgetEnd has an ended container inspected again: the engine may learn after
// its end that it was for want of memory.
func (r *Runtime) forgetEnd(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ended, id)
}
