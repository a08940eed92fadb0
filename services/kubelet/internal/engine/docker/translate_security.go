package docker

import (
	"strconv"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/strslice"

	"coracle.local/services/kubelet/internal/engine"
)

// user renders user and group. A group alone belongs to root, whose the image
// is when it names nobody.
func user(s engine.SecurityContext) string {
	name := s.RunAsUserName
	if s.RunAsUser != nil {
		name = strconv.FormatInt(*s.RunAsUser, 10)
	}
	if s.RunAsGroup == nil {
		return name
	}
	if name == "" {
		name = "0"
	}
	return name + ":" + strconv.FormatInt(*s.RunAsGroup, 10)
}

// securityOptions leaves out what is the engine's default. A Localhost seccomp
// profile stands here as its path until readSeccomp has put its content in.
func securityOptions(s engine.SecurityContext) []string {
	var out []string
	if s.NoNewPrivileges {
		out = append(out, "no-new-privileges")
	}
	if l := s.SELinux; l != nil {
		for _, part := range [][2]string{{"user", l.User}, {"role", l.Role}, {"type", l.Type}, {"level", l.Level}} {
			if part[1] != "" {
				out = append(out, "label="+part[0]+":"+part[1])
			}
		}
	}
	if s.Privileged {
		return out // which is unconfined by itself
	}
	for _, p := range []struct {
		key     string
		profile engine.Profile
	}{{"seccomp=", s.Seccomp}, {"apparmor=", s.AppArmor}} {
		switch p.profile.Type {
		case engine.ProfileUnconfined:
			out = append(out, p.key+"unconfined")
		case engine.ProfileLocalhost:
			out = append(out, p.key+p.profile.Localhost)
		}
	}
	return out
}

// withoutPrivilege rewrites a privileged container for an engine that may not
// grant CAP_SYS_RESOURCE, as in a container that lacks it: everything else of
// a privileged container that can be asked for singly.
func withoutPrivilege(host *container.HostConfig) {
	host.Privileged = false
	host.CapAdd = strslice.StrSlice{"ALL"}
	host.CapDrop = strslice.StrSlice{"SYS_RESOURCE"}
	host.SecurityOpt = append(host.SecurityOpt, "seccomp=unconfined", "apparmor=unconfined")
	host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{}
	host.DeviceCgroupRules = append(host.DeviceCgroupRules, "a *:* rwm")
	host.Devices = append(host.Devices, container.DeviceMapping{
		PathOnHost: "/dev", PathInContainer: "/dev", CgroupPermissions: "rwm",
	})
}
