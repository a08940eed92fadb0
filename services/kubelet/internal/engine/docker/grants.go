package docker

import (
	"context"
	"sync"

	"github.com/docker/docker/api/types/container"
	"go.uber.org/zap"
)

// grants remembers what the engine may give to a container on this machine.
// An engine that itself runs without CAP_SYS_RESOURCE can neither protect a
// process from the OOM killer nor start a privileged container.
type grants struct {
	mu        sync.Mutex
	oomScore  answer
	privilege answer
}

type answer int

const (
	unknown answer = iota
	yes
	no
)

// degrade takes out of a creation what the engine may not grant, and asks the
// engine about what is not known yet. All others it leaves as they are.
func (r *Runtime) degrade(ctx context.Context, pauseImage string, asked creation) error {
	if asked.host.Privileged {
		granted, err := r.granted(ctx, pauseImage, &r.grants.privilege, "privileged containers",
			"run without CAP_SYS_RESOURCE instead", &container.HostConfig{NetworkMode: "none", Privileged: true})
		if err != nil {
			return err
		}
		if !granted {
			withoutPrivilege(asked.host)
		}
	}
	if asked.host.OomScoreAdj < 0 {
		granted, err := r.granted(ctx, pauseImage, &r.grants.oomScore, "negative oom_score_adj",
			"zero is used instead", &container.HostConfig{NetworkMode: "none", OomScoreAdj: sandboxOOMScore})
		if err != nil {
			return err
		}
		if !granted {
			asked.host.OomScoreAdj = 0
		}
	}
	return nil
}

// granted returns a remembered answer, or finds it by starting a container
// that does nothing, with just that one wish. Runtimes word a refusal in many
// ways, so what counts is that the same without the wish starts.
func (r *Runtime) granted(ctx context.Context, image string, known *answer, wish, instead string, host *container.HostConfig) (bool, error) {
	r.grants.mu.Lock()
	defer r.grants.mu.Unlock()
	if *known != unknown {
		return *known == yes, nil
	}
	refusal := r.try(ctx, image, host)
	if refusal == nil {
		*known = yes
		return true, nil
	}
	if err := r.try(ctx, image, &container.HostConfig{NetworkMode: "none"}); err != nil {
		return false, err // it is not the wish
	}
	*known = no
	r.log.Warn("engine may not grant "+wish, zap.String("effect", instead), zap.Error(refusal))
	return false, nil
}

func (r *Runtime) try(ctx context.Context, image string, host *container.HostConfig) error {
	id, _, err := r.calls.create(ctx, creation{config: &container.Config{Image: image}, host: host})
	if err != nil {
		return err
	}
	defer func() {
		if err := r.calls.remove(context.WithoutCancel(ctx), id); err != nil {
			r.log.Warn("container left behind", zap.String("container", id), zap.Error(err))
		}
	}()
	return r.calls.start(ctx, id)
}
