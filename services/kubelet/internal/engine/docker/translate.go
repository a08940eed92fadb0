package docker

import (
	"path"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/strslice"

	"coracle.local/services/kubelet/internal/engine"
)

const (
	// sandboxOOMScore keeps a sandbox alive until all its containers are dead.
	sandboxOOMScore = -998
	// sandboxCPUShares is the least the kernel has; pause wants none.
	sandboxCPUShares = 2
	// shmSize is of /dev/shm, which the containers of a pod share.
	shmSize = 64 << 20
)

// creation is one container for the engine to create.
type creation struct {
	name   string
	config *container.Config
	host   *container.HostConfig
}

// machine is what a translation has to know of the engine.
type machine struct {
	arch          string // GOARCH
	systemdCgroup bool
	instance      string
	logSize       string
	logFiles      string
}

// sandboxCreation translates a sandbox. resolvConf is a file of the node, or
// empty.
func sandboxCreation(s engine.SandboxSpec, m machine, pauseImage, resolvConf string) creation {
	id := identity{
		instance: m.instance, kind: typeSandbox, namespace: s.Namespace, pod: s.Name, uid: s.PodUID,
		container: sandboxContainer, attempt: s.Attempt, cgroup: s.CgroupParent,
	}
	host := &container.HostConfig{
		NetworkMode:   "none", // CNI plugins connect it
		IpcMode:       container.IPCModeShareable,
		Sysctls:       s.Sysctls,
		OomScoreAdj:   sandboxOOMScore,
		SecurityOpt:   securityOptions(s.Security),
		ShmSize:       shmSize,
		LogConfig:     m.logConfig(),
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		Resources:     container.Resources{CPUShares: sandboxCPUShares, CgroupParent: m.cgroupParent(s.CgroupParent)},
		GroupAdd:      groups(s.Security.SupplementalGroups),
	}
	hostname := s.Hostname
	if s.HostNetwork {
		host.NetworkMode, host.UTSMode = "host", "host"
		hostname = "" // the engine refuses one of its own in the host's UTS namespace
	}
	if s.HostPID {
		host.PidMode = "host"
	}
	if s.HostIPC {
		host.IpcMode, host.ShmSize = container.IPCModeHost, 0
	}
	if resolvConf != "" {
		// Containers that join the sandbox's network get the same file.
		host.Binds = []string{resolvConf + ":/etc/resolv.conf:ro"}
	}
	return creation{
		name: id.name(),
		config: &container.Config{
			Image:    pauseImage,
			Hostname: hostname,
			User:     user(s.Security),
			Labels:   joinLabels(id, s.Labels, s.Annotations),
		},
		host: host,
	}
}

// containerCreation translates a container that joins a sandbox.
func containerCreation(s engine.ContainerSpec, m machine, sandboxID string) creation {
	id := identity{
		instance: m.instance, kind: typeContainer, namespace: s.PodNamespace, pod: s.PodName, uid: s.PodUID,
		container: s.Name, sandbox: sandboxID, attempt: s.Attempt,
		logPath: s.LogPath, hash: s.SpecHash, image: s.ImageName, cgroup: s.CgroupParent,
	}
	joined := "container:" + sandboxID
	sec := s.Security
	host := &container.HostConfig{
		NetworkMode:    container.NetworkMode(joined),
		IpcMode:        container.IpcMode(joined),
		CapAdd:         sec.AddCapabilities,
		CapDrop:        sec.DropCapabilities,
		GroupAdd:       groups(sec.SupplementalGroups),
		OomScoreAdj:    s.Resources.OOMScoreAdj,
		Privileged:     sec.Privileged,
		ReadonlyRootfs: sec.ReadOnlyRootFS,
		SecurityOpt:    securityOptions(sec),
		LogConfig:      m.logConfig(),
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		Resources:      resources(s, m),
	}
	host.Binds, host.Mounts = mounts(s.Mounts)
	switch {
	case s.HostPID:
		host.PidMode = "host"
	case s.ShareProcessNS:
		host.PidMode = container.PidMode(joined)
	}
	if s.HostNetwork {
		host.UTSMode = "host"
	}
	if sec.UnmaskedProc {
		// Empty lists mask nothing; nil ones would mean the engine's defaults.
		host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{}
	}
	config := &container.Config{
		Image:       s.Image,
		Cmd:         strslice.StrSlice(s.Args),
		Env:         environment(s.Env),
		WorkingDir:  s.WorkingDir,
		User:        user(sec),
		Labels:      joinLabels(id, s.Labels, s.Annotations),
		OpenStdin:   s.Stdin,
		StdinOnce:   s.StdinOnce,
		Tty:         s.TTY,
		StopSignal:  s.StopSignal,
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}, // probes are the kubelet's
	}
	if len(s.Command) > 0 {
		config.Entrypoint = strslice.StrSlice(s.Command)
	}
	return creation{name: id.name(), config: config, host: host}
}

func resources(s engine.ContainerSpec, m machine) container.Resources {
	in := s.Resources
	out := container.Resources{
		CPUShares:    in.CPUShares,
		CPUQuota:     in.CPUQuota,
		CPUPeriod:    in.CPUPeriod,
		Memory:       in.MemoryBytes,
		CgroupParent: m.cgroupParent(s.CgroupParent),
	}
	if in.MemoryBytes > 0 {
		out.MemorySwap = in.MemoryBytes // together with swap: no swap on top
	}
	if in.PidsLimit > 0 {
		out.PidsLimit = &in.PidsLimit
	}
	for _, d := range s.Devices {
		out.Devices = append(out.Devices, container.DeviceMapping{
			PathOnHost: d.HostPath, PathInContainer: d.ContainerPath, CgroupPermissions: d.Permissions,
		})
	}
	return out
}

// mounts prefers binds, with which the engine makes missing folders as pods
// expect of hostPath; a path with a colon can only be said the other way.
func mounts(in []engine.Mount) ([]string, []mount.Mount) {
	var binds []string
	var mounts []mount.Mount
	for _, m := range in {
		if strings.Contains(m.HostPath+m.ContainerPath, ":") {
			mounts = append(mounts, mount.Mount{
				Type: mount.TypeBind, Source: m.HostPath, Target: m.ContainerPath, ReadOnly: m.ReadOnly,
				BindOptions: &mount.BindOptions{Propagation: propagation(m.Propagation)},
			})
			continue
		}
		var options []string
		if m.ReadOnly {
			options = append(options, "ro")
		}
		if m.Propagation != engine.PropagationPrivate {
			options = append(options, string(propagation(m.Propagation)))
		}
		bind := m.HostPath + ":" + m.ContainerPath
		if len(options) > 0 {
			bind += ":" + strings.Join(options, ",")
		}
		binds = append(binds, bind)
	}
	return binds, mounts
}

func propagation(p engine.Propagation) mount.Propagation {
	switch p {
	case engine.PropagationHostToContainer:
		return mount.PropagationRSlave
	case engine.PropagationBidirectional:
		return mount.PropagationRShared
	default:
		return mount.PropagationRPrivate
	}
}

func environment(in []engine.KeyValue) []string {
	out := make([]string, 0, len(in))
	for _, e := range in {
		out = append(out, e.Key+"="+e.Value)
	}
	return out
}

func groups(in []int64) []string {
	var out []string
	for _, g := range in {
		out = append(out, strconv.FormatInt(g, 10))
	}
	return out
}

func (m machine) logConfig() container.LogConfig {
	// Named, since Logs could read nothing from, say, a daemon's journald.
	return container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": m.logSize, "max-file": m.logFiles}}
}

// cgroupParent renders a cgroupfs path for the engine's driver: systemd names
// a slice by all its ancestors, and takes "-" for the separator.
func (m machine) cgroupParent(cgroup string) string {
	if cgroup == "" || !m.systemdCgroup {
		return cgroup
	}
	parts := strings.Split(strings.Trim(path.Clean(cgroup), "/"), "/")
	for i, part := range parts {
		parts[i] = strings.ReplaceAll(part, "-", "_")
	}
	return strings.Join(parts, "-") + ".slice"
}
