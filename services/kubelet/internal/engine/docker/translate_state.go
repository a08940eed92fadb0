package docker

import (
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/system"

	"coracle.local/services/kubelet/internal/engine"
)

// translateContainer reads an inspected container. ImageID is left to whoever
// can look images up.
func translateContainer(in container.InspectResponse) engine.Container {
	id := identify(in.Config.Labels)
	labels, annotations := splitLabels(in.Config.Labels)
	out := engine.Container{
		ID: in.ID, SandboxID: id.sandbox, Name: id.container, Attempt: id.attempt,
		Image: id.image, ImageID: in.Image, SpecHash: id.hash, LogPath: id.logPath,
		Labels: labels, Annotations: annotations,
		CreatedAt: parseTime(in.Created),
	}
	s := in.State
	started, finished := parseTime(s.StartedAt), parseTime(s.FinishedAt)
	switch {
	case s.Running: // paused and restarting ones too
		out.State, out.StartedAt = engine.Running, started
	case !finished.IsZero():
		if started.After(finished) {
			started = finished // the engine may note the start of a short life after its end
		}
		out.State, out.StartedAt, out.FinishedAt = engine.Exited, started, finished
		out.ExitCode, out.Message = s.ExitCode, s.Error
		switch {
		case s.OOMKilled:
			out.Reason = engine.ReasonOOMKilled
		case s.ExitCode == 0:
			out.Reason = engine.ReasonCompleted
		default:
			out.Reason = engine.ReasonError
		}
	case s.ExitCode != 0:
		// Never ran: it was created, and starting it failed. The engine keeps
		// no times of that.
		out.State, out.StartedAt, out.FinishedAt = engine.Exited, out.CreatedAt, out.CreatedAt
		out.ExitCode, out.Reason, out.Message = s.ExitCode, engine.ReasonCannotRun, s.Error
	default:
		out.State = engine.Created
	}
	return out
}

// translateSandbox reads a listed sandbox with the addresses the network has
// of it.
func translateSandbox(in container.Summary, ips []string) engine.Sandbox {
	id := identify(in.Labels)
	labels, annotations := splitLabels(in.Labels)
	host := in.HostConfig.NetworkMode == "host"
	if host {
		ips = nil
	}
	return engine.Sandbox{
		ID: in.ID, Attempt: id.attempt, HostNetwork: host, IPs: ips,
		Ready:     in.State == container.StateRunning && (host || len(ips) > 0),
		CreatedAt: time.Unix(in.Created, 0),
		Labels:    labels, Annotations: annotations,
	}
}

// parseTime reads the engine's times, whose zero is the year 1.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Unix() <= 0 {
		return time.Time{}
	}
	return t
}

func translateImage(in image.InspectResponse, pinned string) engine.Image {
	out := engine.Image{
		ID: in.ID, RepoTags: in.RepoTags, RepoDigests: in.RepoDigests, Size: in.Size,
		Pinned: slices.Contains(in.RepoTags, pinned),
	}
	if in.Config != nil {
		out.User = in.Config.User
	}
	return out
}

func translateImageSummary(in image.Summary, pinned string) engine.Image {
	named := func(s string) bool { return !strings.HasPrefix(s, "<none>") }
	out := engine.Image{ID: in.ID, Size: in.Size, Pinned: slices.Contains(in.RepoTags, pinned)}
	for _, tag := range in.RepoTags {
		if named(tag) {
			out.RepoTags = append(out.RepoTags, tag)
		}
	}
	for _, digest := range in.RepoDigests {
		if named(digest) {
			out.RepoDigests = append(out.RepoDigests, digest)
		}
	}
	return out
}

// architectures maps what uname says to what images are built for.
var architectures = map[string]string{
	"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386", "i386": "386",
	"loongarch64": "loong64",
}

func goarch(machine string) string {
	if arch, ok := architectures[machine]; ok {
		return arch
	}
	return machine
}

func translateInfo(in system.Info) engine.Info {
	return engine.Info{
		Name:            "docker",
		Version:         in.ServerVersion,
		OSImage:         in.OperatingSystem,
		KernelVersion:   in.KernelVersion,
		OperatingSystem: in.OSType,
		Architecture:    goarch(in.Architecture),
		CPUs:            in.NCPU,
		MemoryBytes:     in.MemTotal,
		CgroupVersion:   in.CgroupVersion,
	}
}

// translateStats reads one measurement, false when the container was not
// running. Under cgroup v1 the engine answers with hierarchical totals beside
// the container's own.
func translateStats(in container.StatsResponse) (engine.Stats, bool) {
	if in.Read.Unix() <= 0 {
		return engine.Stats{}, false
	}
	m := in.MemoryStats
	first := func(keys ...string) uint64 {
		for _, key := range keys {
			if v, ok := m.Stats[key]; ok {
				return v
			}
		}
		return 0
	}
	out := engine.Stats{
		Time:                  in.Read,
		CPUNanoseconds:        in.CPUStats.CPUUsage.TotalUsage,
		MemoryUsageBytes:      m.Usage,
		MemoryWorkingSetBytes: m.Usage,
		MemoryRSSBytes:        first("total_rss", "rss", "anon"),
		MemoryLimitBytes:      m.Limit,
		PageFaults:            first("total_pgfault", "pgfault"),
		MajorPageFaults:       first("total_pgmajfault", "pgmajfault"),
		Pids:                  in.PidsStats.Current,
	}
	if inactive := first("total_inactive_file", "inactive_file"); inactive < m.Usage {
		out.MemoryWorkingSetBytes = m.Usage - inactive
	} else {
		out.MemoryWorkingSetBytes = 0
	}
	return out, true
}
