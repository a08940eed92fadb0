package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"go.uber.org/zap"

	"coracle.local/services/kubelet/internal/engine"
)

// CreateContainer makes a container in a sandbox.
func (r *Runtime) CreateContainer(ctx context.Context, sandboxID string, spec engine.ContainerSpec) (string, error) {
	m, err := r.machine(ctx)
	if err != nil {
		return "", err
	}
	asked := containerCreation(spec, m, sandboxID)
	if err := readSeccomp(asked.host); err != nil {
		return "", err
	}
	if asked.host.Privileged || asked.host.OomScoreAdj < 0 {
		image, err := r.ensurePauseImage(ctx, m.arch)
		if err != nil {
			return "", err
		}
		if err := r.degrade(ctx, image, asked); err != nil {
			return "", err
		}
	}
	return r.create(ctx, asked)
}

// readSeccomp replaces the paths of seccomp profiles by their content, which
// is what the engine wants to be sent.
func readSeccomp(host *container.HostConfig) error {
	for i, option := range host.SecurityOpt {
		path, ok := strings.CutPrefix(option, "seccomp=")
		if !ok || !filepath.IsAbs(path) {
			continue
		}
		profile, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read seccomp profile: %w", err)
		}
		host.SecurityOpt[i] = "seccomp=" + string(profile)
	}
	return nil
}

// StartContainer starts a created container and shows its log where the spec
// wanted it.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	if err := r.calls.start(ctx, id); err != nil {
		return err
	}
	c, err := r.calls.inspect(ctx, id)
	if err != nil {
		return err
	}
	if link := c.Config.Labels[labelLogPath]; link != "" && c.LogPath != "" {
		if err := linkLog(link, c.LogPath); err != nil {
			// Collectors miss it; the container and kubectl logs do not.
			r.log.Warn("log is not shown at its path", zap.String("path", link), zap.Error(err))
		}
	}
	return nil
}

func linkLog(link, target string) error {
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, link)
}

// StopContainer ends a container within its grace period and waits for it.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	seconds := max(0, int((grace+time.Second-1)/time.Second))
	return r.calls.stop(ctx, id, seconds)
}

// RemoveContainer removes a container and the link to its log.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	c, err := r.calls.inspect(ctx, id)
	if err != nil {
		return orAbsent(err)
	}
	return r.removeContainer(ctx, c.ID, c.Config.Labels)
}

func (r *Runtime) removeContainer(ctx context.Context, id string, labels map[string]string) error {
	if err := r.calls.remove(ctx, id); err != nil {
		return err
	}
	r.forgetEnd(id)
	if link := labels[labelLogPath]; link != "" {
		// Only a link is ours. The folder goes with its last link.
		if target, err := os.Lstat(link); err == nil && target.Mode()&fs.ModeSymlink != 0 {
			if err := os.Remove(link); err != nil {
				return fmt.Errorf("remove log link: %w", err)
			}
		}
	}
	return nil
}

// removeCgroups removes a pod's cgroups in every hierarchy this process can
// see: the engine makes them and never removes them, except through systemd,
// which does it by itself. One in use stays, as rmdir refuses.
func removeCgroups(cgroup string) {
	if !strings.HasPrefix(filepath.Base(cgroup), "pod") {
		return // not one pod's alone
	}
	roots := []string{"/sys/fs/cgroup"}
	hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs") // the pattern is valid
	for _, h := range hierarchies {
		roots = append(roots, filepath.Dir(h))
	}
	for _, root := range roots {
		_ = os.Remove(filepath.Join(root, cgroup)) // absent, or still in use
	}
}
