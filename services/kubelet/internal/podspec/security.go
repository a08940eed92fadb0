package podspec

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
)

// Security merges a container's security context into its pod's. imageUser is
// the USER of the image; seccompDir holds profiles of type Localhost. It fails
// when the container would run as root and must not.
func Security(pod *corev1.Pod, c *corev1.Container, imageUser, seccompDir string) (engine.SecurityContext, error) {
	p, s := pod.Spec.SecurityContext, c.SecurityContext
	if p == nil {
		p = &corev1.PodSecurityContext{}
	}
	if s == nil {
		s = &corev1.SecurityContext{}
	}
	out := engine.SecurityContext{
		Privileged: isTrue(s.Privileged), ReadOnlyRootFS: isTrue(s.ReadOnlyRootFilesystem),
		NoNewPrivileges: s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation,
		RunAsUser:       or(s.RunAsUser, p.RunAsUser), RunAsGroup: or(s.RunAsGroup, p.RunAsGroup),
		UnmaskedProc: s.ProcMount != nil && *s.ProcMount == corev1.UnmaskedProcMount,
		SELinux:      selinux(or(s.SELinuxOptions, p.SELinuxOptions)),
		Seccomp:      seccomp(or(s.SeccompProfile, p.SeccompProfile), seccompDir),
		AppArmor:     apparmor(or(s.AppArmorProfile, p.AppArmorProfile)),
	}
	if s.Capabilities != nil {
		out.AddCapabilities, out.DropCapabilities = capabilities(s.Capabilities.Add), capabilities(s.Capabilities.Drop)
	}
	if p.FSGroup != nil {
		out.SupplementalGroups = append(out.SupplementalGroups, *p.FSGroup)
	}
	out.SupplementalGroups = append(out.SupplementalGroups, p.SupplementalGroups...)

	uid, name := user(imageUser)
	if err := nonRoot(pod, c, or(s.RunAsNonRoot, p.RunAsNonRoot), out.RunAsUser, uid, name); err != nil {
		return engine.SecurityContext{}, err
	}
	if out.RunAsUser == nil {
		out.RunAsUser, out.RunAsUserName = uid, name
	}
	return out, nil
}

// SandboxSecurity is the pod's part alone.
func SandboxSecurity(pod *corev1.Pod, seccompDir string) engine.SecurityContext {
	p := pod.Spec.SecurityContext
	if p == nil {
		p = &corev1.PodSecurityContext{}
	}
	out := engine.SecurityContext{
		RunAsUser: p.RunAsUser, RunAsGroup: p.RunAsGroup, SELinux: selinux(p.SELinuxOptions),
		// The pause process needs nothing, whatever the pod's containers need.
		Seccomp: engine.Profile{Type: engine.ProfileRuntimeDefault},
	}
	if p.SeccompProfile != nil {
		out.Seccomp = seccomp(p.SeccompProfile, seccompDir)
	}
	if p.FSGroup != nil {
		out.SupplementalGroups = append(out.SupplementalGroups, *p.FSGroup)
	}
	out.SupplementalGroups = append(out.SupplementalGroups, p.SupplementalGroups...)
	return out
}

// nonRoot enforces runAsNonRoot, in upstream's words.
func nonRoot(pod *corev1.Pod, c *corev1.Container, want *bool, runAs, image *int64, imageName string) error {
	where := fmt.Sprintf("(pod: %q, container: %s)", fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID), c.Name)
	switch {
	case !isTrue(want):
	case runAs != nil && *runAs == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
	case runAs != nil:
	case image != nil && *image == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	case image == nil && imageName != "":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", imageName, where)
	}
	return nil
}

// user splits an image's USER: a number, or else a name. No USER is root.
func user(s string) (uid *int64, name string) {
	s, _, _ = strings.Cut(s, ":")
	if s == "" {
		root := int64(0)
		return &root, ""
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return &n, ""
	}
	return nil, s
}

func capabilities(list []corev1.Capability) []string {
	var out []string
	for _, c := range list {
		out = append(out, strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_"))
	}
	return out
}

func seccomp(p *corev1.SeccompProfile, dir string) engine.Profile {
	switch {
	case p == nil, p.Type == corev1.SeccompProfileTypeUnconfined:
		return engine.Profile{Type: engine.ProfileUnconfined}
	case p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil:
		return engine.Profile{Type: engine.ProfileLocalhost, Localhost: filepath.Join(dir, *p.LocalhostProfile)}
	}
	return engine.Profile{Type: engine.ProfileRuntimeDefault}
}

func apparmor(p *corev1.AppArmorProfile) engine.Profile {
	switch {
	case p == nil:
		return engine.Profile{}
	case p.Type == corev1.AppArmorProfileTypeUnconfined:
		return engine.Profile{Type: engine.ProfileUnconfined}
	case p.Type == corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile != nil:
		return engine.Profile{Type: engine.ProfileLocalhost, Localhost: *p.LocalhostProfile}
	}
	return engine.Profile{Type: engine.ProfileRuntimeDefault}
}

func selinux(o *corev1.SELinuxOptions) *engine.SELinux {
	if o == nil {
		return nil
	}
	return &engine.SELinux{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

func isTrue(b *bool) bool { return b != nil && *b }

func or[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}
