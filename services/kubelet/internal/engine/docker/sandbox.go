package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/network"
)

// RunSandbox makes a sandbox: its files, the pause container, the network.
func (r *Runtime) RunSandbox(ctx context.Context, spec engine.SandboxSpec) (engine.Sandbox, error) {
	defer r.pods.lock(spec.PodUID)()
	found, err := r.calls.list(ctx, r.selector(labelType, typeSandbox,
		labelUID, string(spec.PodUID), labelAttempt, strconv.Itoa(spec.Attempt)))
	if err != nil {
		return engine.Sandbox{}, err
	}
	for _, old := range found {
		if s := translateSandbox(old, r.cfg.Network.IPs(old.ID)); s.Ready {
			return s, nil
		}
		if err := r.removeSandbox(ctx, old.ID); err != nil {
			return engine.Sandbox{}, fmt.Errorf("remove half-made sandbox: %w", err)
		}
	}
	id, err := r.makeSandbox(ctx, spec)
	if err != nil {
		return engine.Sandbox{}, fmt.Errorf("run sandbox of pod %s/%s: %w", spec.Namespace, spec.Name, err)
	}
	found, err = r.calls.list(ctx, r.selector(labelType, typeSandbox, labelUID, string(spec.PodUID)))
	if err != nil {
		return engine.Sandbox{}, err
	}
	for _, c := range found {
		if c.ID == id {
			return translateSandbox(c, r.cfg.Network.IPs(id)), nil
		}
	}
	return engine.Sandbox{}, fmt.Errorf("sandbox %s: %w", id, engine.ErrNotFound)
}

// makeSandbox leaves nothing behind when it fails.
func (r *Runtime) makeSandbox(ctx context.Context, spec engine.SandboxSpec) (string, error) {
	if !spec.HostNetwork {
		if err := r.cfg.Network.Ready(); err != nil {
			return "", err
		}
	}
	m, err := r.machine(ctx)
	if err != nil {
		return "", err
	}
	image, err := r.ensurePauseImage(ctx, m.arch)
	if err != nil {
		return "", err
	}
	resolvConf, err := r.writeResolvConf(spec)
	if err != nil {
		return "", err
	}
	asked := sandboxCreation(spec, m, image, resolvConf)
	if err := readSeccomp(asked.host); err != nil {
		return "", err
	}
	if err := r.degrade(ctx, image, asked); err != nil {
		return "", err
	}
	id, err := r.create(ctx, asked)
	if err != nil {
		return "", err
	}
	if err := r.startSandbox(ctx, id, spec); err != nil {
		// The reason of the failure may be ctx itself.
		if undo := r.removeSandbox(context.WithoutCancel(ctx), id); undo != nil {
			r.log.Warn("half-made sandbox left behind", zap.String("sandbox", id), zap.Error(undo))
		}
		return "", err
	}
	return id, nil
}

func (r *Runtime) startSandbox(ctx context.Context, id string, spec engine.SandboxSpec) error {
	if err := r.calls.start(ctx, id); err != nil {
		return err
	}
	if spec.HostNetwork {
		return nil
	}
	c, err := r.calls.inspect(ctx, id)
	if err != nil {
		return err
	}
	s := networkSandbox(c)
	if s.NetNS == "" {
		return fmt.Errorf("sandbox %s ended at once with code %d: %s", id, c.State.ExitCode, c.State.Error)
	}
	s.Ports = spec.PortMappings
	_, err = r.cfg.Network.Attach(ctx, s)
	return err
}

// networkSandbox describes an inspected sandbox for the network. A namespace
// is only named by a process that is certain to be the sandbox's.
func networkSandbox(c container.InspectResponse) network.Sandbox {
	id := identify(c.Config.Labels)
	s := network.Sandbox{ID: c.ID, PodUID: string(id.uid), Namespace: id.namespace, Name: id.pod}
	if c.State.Running && c.State.Pid > 0 {
		s.NetNS = fmt.Sprintf("/proc/%d/ns/net", c.State.Pid)
	}
	return s
}

// StopSandbox ends all that runs in a sandbox and takes it off the network.
func (r *Runtime) StopSandbox(ctx context.Context, id string) error {
	c, err := r.calls.inspect(ctx, id)
	if errors.Is(err, engine.ErrNotFound) {
		return r.releaseLost(ctx, id)
	}
	if err != nil {
		return err
	}
	defer r.pods.lock(identify(c.Config.Labels).uid)()
	return r.stopSandbox(ctx, id)
}

func (r *Runtime) stopSandbox(ctx context.Context, id string) error {
	c, err := r.calls.inspect(ctx, id)
	if err != nil {
		return orAbsent(err)
	}
	members, err := r.calls.list(ctx, r.selector(labelSandbox, id))
	if err != nil {
		return err
	}
	// At once, not one after the other: each takes its time to die.
	var stops errgroup.Group
	for _, member := range members {
		if member.State == container.StateRunning {
			stops.Go(func() error { return r.calls.stop(ctx, member.ID, 0) })
		}
	}
	if err := stops.Wait(); err != nil {
		return err
	}
	if !c.HostConfig.NetworkMode.IsHost() {
		if err := r.cfg.Network.Detach(ctx, networkSandbox(c)); err != nil {
			return err
		}
	}
	if !c.State.Running {
		return nil
	}
	return r.calls.stop(ctx, id, 1)
}

// RemoveSandbox removes a sandbox with its containers and files.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	c, err := r.calls.inspect(ctx, id)
	if errors.Is(err, engine.ErrNotFound) {
		return r.releaseLost(ctx, id)
	}
	if err != nil {
		return err
	}
	defer r.pods.lock(identify(c.Config.Labels).uid)()
	return r.removeSandbox(ctx, id)
}

func (r *Runtime) removeSandbox(ctx context.Context, id string) error {
	c, err := r.calls.inspect(ctx, id)
	if err != nil {
		return orAbsent(err)
	}
	if err := r.stopSandbox(ctx, id); err != nil {
		return err
	}
	members, err := r.calls.list(ctx, r.selector(labelSandbox, id))
	if err != nil {
		return err
	}
	for _, member := range members {
		if err := r.removeContainer(ctx, member.ID, member.Labels); err != nil {
			return err
		}
	}
	if err := r.calls.remove(ctx, id); err != nil {
		return err
	}
	r.cfg.Network.Forget(id)
	was := identify(c.Config.Labels)
	removeCgroups(was.cgroup)
	if err := os.RemoveAll(r.sandboxFolder(string(was.uid), was.attempt)); err != nil {
		return fmt.Errorf("remove files of sandbox %s: %w", id, err)
	}
	return nil
}

// releaseLost gives back the addresses of a sandbox that was removed behind
// the kubelet's back.
func (r *Runtime) releaseLost(ctx context.Context, id string) error {
	if len(r.cfg.Network.IPs(id)) == 0 {
		return nil
	}
	if err := r.cfg.Network.Detach(ctx, network.Sandbox{ID: id}); err != nil {
		return err
	}
	r.cfg.Network.Forget(id)
	return nil
}

// create replaces a leftover of the same name that never ran: the engine's
// own check of names is what keeps a thing from being made twice.
func (r *Runtime) create(ctx context.Context, asked creation) (string, error) {
	id, warnings, err := r.calls.create(ctx, asked)
	if err != nil && cerrdefs.IsConflict(err) {
		old, inspectErr := r.calls.inspect(ctx, asked.name)
		if inspectErr != nil && !errors.Is(inspectErr, engine.ErrNotFound) {
			return "", errors.Join(err, inspectErr)
		}
		if inspectErr == nil {
			if old.Config.Labels[labelInstance] != r.cfg.Instance || old.State.Running || !parseTime(old.State.StartedAt).IsZero() {
				return "", err
			}
			if err := r.calls.remove(ctx, old.ID); err != nil {
				return "", err
			}
		}
		id, warnings, err = r.calls.create(ctx, asked)
	}
	for _, warning := range warnings {
		r.log.Debug("engine warns about a container", zap.String("container", asked.name), zap.String("warning", warning))
	}
	return id, err
}

func (r *Runtime) sandboxFolder(uid string, attempt int) string {
	return filepath.Join(r.cfg.Root, "sandboxes", uid+"_"+strconv.Itoa(attempt))
}

// writeResolvConf returns the path of the pod's resolv.conf. It is a file of
// ours, mounted, since the engine's own may be in a mount namespace that the
// kubelet cannot see.
func (r *Runtime) writeResolvConf(spec engine.SandboxSpec) (string, error) {
	if spec.DNS == nil {
		return "", nil
	}
	folder := r.sandboxFolder(string(spec.PodUID), spec.Attempt)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make sandbox folder: %w", err)
	}
	path := filepath.Join(folder, "resolv.conf")
	if err := os.WriteFile(path, []byte(renderResolvConf(*spec.DNS)), 0o644); err != nil {
		return "", fmt.Errorf("write resolv.conf: %w", err)
	}
	return path, nil
}

func renderResolvConf(d engine.DNSConfig) string {
	var b strings.Builder
	if len(d.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.Searches, " "))
	}
	for _, server := range d.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(d.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.Options, " "))
	}
	return b.String()
}
