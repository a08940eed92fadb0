package docker

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"coracle.local/services/kubelet/internal/engine"
)

func TestIdentitySurvivesLabels(t *testing.T) {
	want := identity{
		instance: "node", kind: typeContainer, namespace: "ns", pod: "p", uid: "u", container: "c",
		sandbox: "s", attempt: 7, logPath: "/log", hash: "h", image: "nginx", cgroup: "/kubepods/podu",
	}
	labels := map[string]string{"app": "web", labelUID: "somebody else's", labelCgroup: "/"}
	annotations := map[string]string{labelUID: "kept", "a": "b"}
	all := joinLabels(want, labels, annotations)
	if got := identify(all); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	gotLabels, gotAnnotations := splitLabels(all)
	if !maps.Equal(gotLabels, map[string]string{"app": "web"}) || !maps.Equal(gotAnnotations, annotations) {
		t.Errorf("labels %v, annotations %v", gotLabels, gotAnnotations)
	}
	if labels[labelUID] != "somebody else's" {
		t.Error("the caller's labels were changed")
	}
	if got := want.name(); got != "k8s_c_p_ns_u_7" {
		t.Errorf("name %s", got)
	}
	// What is not said must be written as empty, or a pod's label would say it.
	if got := identify(joinLabels(identity{}, map[string]string{labelCgroup: "/", labelLogPath: "/etc/passwd"}, nil)); got != (identity{}) {
		t.Errorf("a pod's labels pass for %+v", got)
	}
}

func TestCgroupParent(t *testing.T) {
	for _, test := range []struct{ name, in, cgroupfs, systemd string }{
		{"none", "", "", ""},
		{"burstable", "/kubepods/burstable/pod1-2", "/kubepods/burstable/pod1-2", "kubepods-burstable-pod1_2.slice"},
		{"guaranteed", "/kubepods/podx", "/kubepods/podx", "kubepods-podx.slice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := (machine{}).cgroupParent(test.in); got != test.cgroupfs {
				t.Errorf("cgroupfs: %q, want %q", got, test.cgroupfs)
			}
			if got := (machine{systemdCgroup: true}).cgroupParent(test.in); got != test.systemd {
				t.Errorf("systemd: %q, want %q", got, test.systemd)
			}
		})
	}
}

func TestSandboxCreation(t *testing.T) {
	base := engine.SandboxSpec{PodUID: "u", Namespace: "ns", Name: "p", Hostname: "h"}
	for _, test := range []struct {
		name   string
		change func(*engine.SandboxSpec)
		check  func(creation) bool
	}{
		{"plain", func(*engine.SandboxSpec) {}, func(c creation) bool {
			return c.name == "k8s_POD_p_ns_u_0" && c.config.Hostname == "h" && c.host.NetworkMode == "none" &&
				c.host.IpcMode == "shareable" && c.host.PidMode == "" && c.host.OomScoreAdj == -998 && len(c.host.SecurityOpt) == 0
		}},
		{"host namespaces", func(s *engine.SandboxSpec) { s.HostNetwork, s.HostPID, s.HostIPC = true, true, true }, func(c creation) bool {
			return c.config.Hostname == "" && c.host.NetworkMode == "host" && c.host.UTSMode == "host" &&
				c.host.IpcMode == "host" && c.host.PidMode == "host"
		}},
		{"sysctls", func(s *engine.SandboxSpec) { s.Sysctls = map[string]string{"net.core.somaxconn": "9"} }, func(c creation) bool {
			return c.host.Sysctls["net.core.somaxconn"] == "9"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := base
			test.change(&spec)
			if c := sandboxCreation(spec, machine{}, "pause", ""); !test.check(c) {
				t.Errorf("config %+v\nhost %+v", c.config, c.host)
			}
		})
	}
	if c := sandboxCreation(base, machine{}, "pause", "/dir/resolv.conf"); !slices.Equal(c.host.Binds, []string{"/dir/resolv.conf:/etc/resolv.conf:ro"}) {
		t.Errorf("binds %v", c.host.Binds)
	}
}

func TestContainerCreation(t *testing.T) {
	uid, gid := int64(5), int64(6)
	for _, test := range []struct {
		name   string
		change func(*engine.ContainerSpec)
		check  func(creation) bool
	}{
		{"joins its sandbox", func(*engine.ContainerSpec) {}, func(c creation) bool {
			return c.host.NetworkMode == "container:sb" && c.host.IpcMode == "container:sb" && c.host.PidMode == "" && c.host.UTSMode == ""
		}},
		{"shares processes", func(s *engine.ContainerSpec) { s.ShareProcessNS = true }, func(c creation) bool { return c.host.PidMode == "container:sb" }},
		{"host processes come first", func(s *engine.ContainerSpec) { s.HostPID, s.ShareProcessNS = true, true }, func(c creation) bool { return c.host.PidMode == "host" }},
		{"host network", func(s *engine.ContainerSpec) { s.HostNetwork = true }, func(c creation) bool { return c.host.UTSMode == "host" }},
		{"the image's command", func(*engine.ContainerSpec) {}, func(c creation) bool { return c.config.Entrypoint == nil && len(c.config.Cmd) == 0 }},
		{"arguments alone keep the entry point", func(s *engine.ContainerSpec) { s.Args = []string{"a"} }, func(c creation) bool {
			return c.config.Entrypoint == nil && slices.Equal(c.config.Cmd, []string{"a"})
		}},
		{"health checks are the kubelet's", func(*engine.ContainerSpec) {}, func(c creation) bool { return slices.Equal(c.config.Healthcheck.Test, []string{"NONE"}) }},
		{"no swap beyond memory", func(s *engine.ContainerSpec) { s.Resources.MemoryBytes = 9 }, func(c creation) bool {
			return c.host.Memory == 9 && c.host.MemorySwap == 9 && c.host.PidsLimit == nil
		}},
		{"user and group", func(s *engine.ContainerSpec) { s.Security.RunAsUser, s.Security.RunAsGroup = &uid, &gid }, func(c creation) bool { return c.config.User == "5:6" }},
		{"group of the image's user", func(s *engine.ContainerSpec) { s.Security.RunAsUserName, s.Security.RunAsGroup = "web", &gid }, func(c creation) bool { return c.config.User == "web:6" }},
		{"group alone", func(s *engine.ContainerSpec) { s.Security.RunAsGroup = &gid }, func(c creation) bool { return c.config.User == "0:6" }},
		{"masked unless unmasked", func(*engine.ContainerSpec) {}, func(c creation) bool { return c.host.MaskedPaths == nil && c.host.ReadonlyPaths == nil }},
		{"unmasked", func(s *engine.ContainerSpec) { s.Security.UnmaskedProc = true }, func(c creation) bool {
			return c.host.MaskedPaths != nil && len(c.host.MaskedPaths) == 0 && c.host.ReadonlyPaths != nil
		}},
		{"profiles", func(s *engine.ContainerSpec) {
			s.Security.NoNewPrivileges = true
			s.Security.Seccomp = engine.Profile{Type: engine.ProfileUnconfined}
			s.Security.AppArmor = engine.Profile{Type: engine.ProfileLocalhost, Localhost: "mine"}
			s.Security.SELinux = &engine.SELinux{Level: "s0:c1"}
		}, func(c creation) bool {
			return strings.Join(c.host.SecurityOpt, " ") == "no-new-privileges label=level:s0:c1 seccomp=unconfined apparmor=mine"
		}},
		{"runtime default profiles need no saying", func(s *engine.ContainerSpec) {
			s.Security.Seccomp = engine.Profile{Type: engine.ProfileRuntimeDefault}
		}, func(c creation) bool { return len(c.host.SecurityOpt) == 0 }},
		{"mounts", func(s *engine.ContainerSpec) {
			s.Mounts = []engine.Mount{
				{HostPath: "/a", ContainerPath: "/b"},
				{HostPath: "/c", ContainerPath: "/d", ReadOnly: true, Propagation: engine.PropagationHostToContainer},
				{HostPath: "/e:f", ContainerPath: "/g", Propagation: engine.PropagationBidirectional},
			}
		}, func(c creation) bool {
			return slices.Equal(c.host.Binds, []string{"/a:/b", "/c:/d:ro,rslave"}) && len(c.host.Mounts) == 1 &&
				c.host.Mounts[0].Source == "/e:f" && c.host.Mounts[0].BindOptions.Propagation == "rshared"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := engine.ContainerSpec{PodUID: "u", PodNamespace: "ns", PodName: "p", Name: "c"}
			test.change(&spec)
			if c := containerCreation(spec, machine{}, "sb"); !test.check(c) {
				t.Errorf("config %+v\nhost %+v", c.config, c.host)
			}
		})
	}
}

func TestTranslateContainer(t *testing.T) {
	const created, started, finished = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"
	const never = "0001-01-01T00:00:00Z"
	for _, test := range []struct {
		name         string
		in           container.State
		state        engine.State
		reason       string
		code         int
		ended, begun string
	}{
		{"created", container.State{StartedAt: never, FinishedAt: never}, engine.Created, "", 0, never, never},
		{"running", container.State{Running: true, StartedAt: started, FinishedAt: never}, engine.Running, "", 0, never, started},
		{"running again", container.State{Running: true, StartedAt: finished, FinishedAt: started, ExitCode: 1}, engine.Running, "", 0, never, finished},
		{"completed", container.State{StartedAt: started, FinishedAt: finished}, engine.Exited, "Completed", 0, finished, started},
		{"noted too late", container.State{StartedAt: finished, FinishedAt: started}, engine.Exited, "Completed", 0, started, started},
		{"failed", container.State{StartedAt: started, FinishedAt: finished, ExitCode: 3}, engine.Exited, "Error", 3, finished, started},
		{"out of memory", container.State{StartedAt: started, FinishedAt: finished, ExitCode: 137, OOMKilled: true}, engine.Exited, "OOMKilled", 137, finished, started},
		{"could not start", container.State{StartedAt: never, FinishedAt: never, ExitCode: 127, Error: "no such file"}, engine.Exited, "ContainerCannotRun", 127, created, created},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := translateContainer(container.InspectResponse{
				ContainerJSONBase: &container.ContainerJSONBase{Created: created, State: &test.in},
				Config:            &container.Config{},
			})
			if got.State != test.state || got.Reason != test.reason || got.ExitCode != test.code || got.Message != test.in.Error ||
				!got.StartedAt.Equal(parseTime(test.begun)) || !got.FinishedAt.Equal(parseTime(test.ended)) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestTranslateStats(t *testing.T) {
	for _, test := range []struct {
		name            string
		stats           map[string]uint64
		workingSet, rss uint64
	}{
		{"cgroup v1", map[string]uint64{"total_inactive_file": 30, "inactive_file": 1, "total_rss": 40, "rss": 2}, 70, 40},
		{"cgroup v2", map[string]uint64{"inactive_file": 30, "anon": 40}, 70, 40},
		{"more cache than usage", map[string]uint64{"inactive_file": 300}, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := container.StatsResponse{Read: parseTime("2026-01-01T00:00:00Z"), MemoryStats: container.MemoryStats{Usage: 100, Stats: test.stats}}
			got, ok := translateStats(in)
			if !ok || got.MemoryWorkingSetBytes != test.workingSet || got.MemoryRSSBytes != test.rss {
				t.Errorf("%v %+v", ok, got)
			}
		})
	}
	if _, ok := translateStats(container.StatsResponse{}); ok {
		t.Error("a container that does not run is measured")
	}
}

func TestParseInterfaces(t *testing.T) {
	const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    1000      10    1    2    0     0          0         0     2000      20    3    4    0     0       0          0
`
	got, err := parseInterfaces(strings.NewReader(dev))
	want := []engine.NetworkStats{{Name: "eth0", RxBytes: 1000, RxErrors: 1, RxDrops: 2, TxBytes: 2000, TxErrors: 3, TxDrops: 4}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"eth0: 1 2\n", "eth0: a 0 0 0 0 0 0 0 0 0 0 0\n"} {
		if _, err := parseInterfaces(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestMeant(t *testing.T) {
	image := engine.Image{ID: "sha256:cafe" + strings.Repeat("0", 60), RepoTags: []string{"nginx:latest"}}
	for ref, want := range map[string]bool{
		image.ID:                  true,
		image.ID[len("sha256:"):]: true,
		"nginx":                   true,
		"nginx:latest":            true,
		"cafe":                    false,
	} {
		if got := meant(ref, image); got != want {
			t.Errorf("%s: %v, want %v", ref, got, want)
		}
	}
	image.RepoTags = append(image.RepoTags, "cafe:latest")
	if !meant("cafe", image) {
		t.Error("an image that is really called so is not meant")
	}
}

func TestLimited(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit int64
		in    []string
		want  string
		full  bool
	}{
		{"below", 10, []string{"abc", "def"}, "abcdef", false},
		{"exact", 6, []string{"abc", "def"}, "abcdef", true},
		{"beyond", 4, []string{"abc", "def"}, "abcd", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			w := limited{&out, &limit{left: test.limit}}
			var err error
			for _, s := range test.in {
				_, err = w.Write([]byte(s))
			}
			if out.String() != test.want || (err != nil) != test.full {
				t.Errorf("%q, %v", out.String(), err)
			}
		})
	}
}
