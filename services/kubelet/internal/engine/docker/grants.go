package docker

import (
	"context"
	"strings"
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
func (r *Runtime) degrade(ctx context.Context, pauseImage string, new creation) error {
	if new.host.Privileged {
		granted, err := r.granted(ctx, pauseImage, &r.grants.privilege, "privileged containers",
			"run without CAP_SYS_RESOURCE instead", &container.HostConfig{NetworkMode: "none", Privileged: true})
		if err != nil {
			return err
		}
		if !granted {
			withoutPrivilege(new.host)
		}
	}
	if new.host.OomScoreAdj < 0 {
		granted, err := r.granted(ctx, pauseImage, &r.grants.oomScore, "negative oom_score_adj",
			"zero is used instead", &container.HostConfig{NetworkMode: "none", OomScoreAdj: sandboxOOMScore})
		if err != nil {
			return err
		}
		if !granted {
			new.host.OomScoreAdj = 0
		}
	}
	return nil
}

// granted returns a remembered answer, or finds it by starting a container
// that does nothing with just that one wish.
func (r *Runtime) granted(ctx context.Context, image string, known *answer, wish, instead string, host *container.HostConfig) (bool, error) {
	r.grants.mu.Lock()
	defer r.grants.mu.Unlock()
	if *known != unknown {
		return *known == yes, nil
	}
	id, _, err := r.calls.create(ctx, creation{config: &container.Config{Image: image}, host: host})
	if err != nil {
		return false, err
	}
	defer func() {
		if err := r.calls.remove(context.WithoutCancel(ctx), id); err != nil {
			r.log.Warn("container left behind", zap.String("container", id), zap.Error(err))
		}
	}()
	err = r.calls.start(ctx, id)
	switch {
	case err == nil:
		*known = yes
	case refused(err):
		*known = no
		r.log.Warn("engine may not grant "+wish, zap.String("effect", instead), zap.Error(err))
	default:
		return false, err
	}
	return *known == yes, nil
}

// refused recognizes the words of runc for what the kernel did not permit.
func refused(err error) bool {
	text := err.Error()
	return strings.Contains(text, "oom_score_adj") || strings.Contains(text, "apply caps") ||
		strings.Contains(text, "operation not permitted") || strings.Contains(text, "permission denied")
}
