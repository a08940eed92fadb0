package admission

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	podsecurityapi "k8s.io/pod-security-admission/admission/api"
	"k8s.io/pod-security-admission/api"
)

// podSecurityExemptions are requests that no policy holds.
type podSecurityExemptions podsecurityapi.PodSecurityExemptions

func newPodSecurity(c Config) *podSecurity {
	privileged := api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()}
	p := &podSecurity{lookup: c.lookup(), clock: c.Clock, defaults: api.Policy{Enforce: privileged, Audit: privileged, Warn: privileged}}
	if configured := c.settings.podSecurity; configured != nil {
		p.exempt = podSecurityExemptions(configured.Exemptions)
		// It was validated when it was read.
		if defaults, err := podsecurityapi.ToPolicy(configured.Defaults); err == nil {
			p.defaults = defaults
		}
	}
	return p
}

func (e podSecurityExemptions) namespace(name string) bool {
	return name != "" && slices.Contains(e.Namespaces, name)
}

func (e podSecurityExemptions) request(a *Attributes) bool {
	user := ""
	if a.User != nil {
		user = a.User.GetName()
	}
	return e.namespace(a.Namespace) || user != "" && slices.Contains(e.Usernames, user)
}

func (e podSecurityExemptions) runtimeClass(spec *corev1.PodSpec) bool {
	class := spec.RuntimeClassName
	return class != nil && *class != "" && slices.Contains(e.RuntimeClasses, *class)
}

// warnOfExemption tells who labels an exempt namespace that this is in vain.
func (p *podSecurity) warnOfExemption(a *Attributes, namespace *corev1.Namespace) {
	policy, _ := p.podPolicy(namespace.Labels)
	if !p.exempt.namespace(namespace.Name) || policy.FullyPrivileged() || policy.Equivalent(&p.defaults) {
		return
	}
	var modes []string
	for _, mode := range []struct {
		name, level, version string
		wanted               api.LevelVersion
	}{
		{"enforce", api.EnforceLevelLabel, api.EnforceVersionLabel, policy.Enforce},
		{"audit", api.AuditLevelLabel, api.AuditVersionLabel, policy.Audit},
		{"warn", api.WarnLevelLabel, api.WarnVersionLabel, policy.Warn},
	} {
		_, level := namespace.Labels[mode.level]
		_, version := namespace.Labels[mode.version]
		if mode.wanted.Level != api.LevelPrivileged && (level || version) {
			modes = append(modes, mode.name+"="+mode.wanted.String())
		}
	}
	a.warn(fmt.Sprintf("namespace %q is exempt from Pod Security, and the policy (%s) will be ignored", namespace.Name, strings.Join(modes, ", ")))
}
