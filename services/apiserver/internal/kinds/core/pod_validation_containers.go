package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// podContext is what the containers of a pod are checked against.
type podContext struct {
	spec    *corev1.PodSpec
	volumes map[string]*corev1.VolumeSource
	claims  sets.Set[string]
	allow   Allowances
}

func (c *podContext) hostUsers() bool { return c.spec.HostUsers == nil || *c.spec.HostUsers }

func (c *podContext) validateContainers(p *field.Path) field.ErrorList {
	list := c.spec.Containers
	if len(list) == 0 {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	names := sets.Set[string]{}
	for i := range list {
		ctr, at := &list[i], p.Index(i)
		errs = append(errs, c.validateContainer(at, ctr)...)
		if names.Has(ctr.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), ctr.Name))
		}
		names.Insert(ctr.Name)
		errs = append(errs, c.validateHooksAndProbes(at, ctr)...)
		errs = append(errs, validateRestartRules(at, ctr.RestartPolicy, ctr.RestartPolicyRules)...)
	}
	return append(errs, validateHostPorts(p, list)...)
}

func (c *podContext) validateInitContainers(p *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := containerNames(c.spec.Containers)
	list := c.spec.InitContainers
	for i := range list {
		ctr, at := &list[i], p.Index(i)
		errs = append(errs, c.validateContainer(at, ctr)...)
		if ctr.RestartPolicy != nil {
			errs = append(errs, validateRestartRules(at, ctr.RestartPolicy, ctr.RestartPolicyRules)...)
		} else if len(ctr.RestartPolicyRules) > 0 {
			errs = append(errs, field.Required(at.Child("restartPolicy"), restartPolicyMissing))
		}
		if names.Has(ctr.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), ctr.Name))
		} else if ctr.Name != "" {
			names.Insert(ctr.Name)
		}
		// Init containers run one by one, so only their own ports can clash.
		errs = append(errs, validateHostPorts(p, list[i:i+1])...)
		if isSidecar(ctr) {
			errs = append(errs, c.validateHooksAndProbes(at, ctr)...)
			continue
		}
		errs = append(errs, refuseHooksAndProbes(at, ctr)...)
		if c.allow.RestartingInitResize {
			continue
		}
		for j, policy := range ctr.ResizePolicy {
			if policy.RestartPolicy == corev1.RestartContainer {
				errs = append(errs, field.Invalid(at.Child("resizePolicy").Index(j).Child("restartPolicy"), policy.RestartPolicy,
					"must not be set to 'RestartContainer' for non-sidecar initContainers"))
			}
		}
	}
	return errs
}

func refuseHooksAndProbes(p *field.Path, ctr *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	for _, member := range []struct {
		child string
		set   bool
	}{
		{"lifecycle", ctr.Lifecycle != nil},
		{"livenessProbe", ctr.LivenessProbe != nil},
		{"readinessProbe", ctr.ReadinessProbe != nil},
		{"startupProbe", ctr.StartupProbe != nil},
	} {
		if member.set {
			errs = append(errs, field.Forbidden(p.Child(member.child), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	return errs
}

const notForEphemeral = "cannot be set for an Ephemeral Container"

func (c *podContext) validateEphemeralContainers(p *field.Path) field.ErrorList {
	var errs field.ErrorList
	others := containerNames(c.spec.Containers, c.spec.InitContainers)
	names := others.Clone()
	for i := range c.spec.EphemeralContainers {
		ephemeral, at := &c.spec.EphemeralContainers[i], p.Index(i)
		ctr := asContainer(ephemeral)
		errs = append(errs, c.validateContainer(at, ctr)...)
		errs = append(errs, validateImageTrimmed(at, ctr)...)
		if names.Has(ctr.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), ctr.Name))
		}
		names.Insert(ctr.Name)
		if target := ephemeral.TargetContainerName; target != "" && !others.Has(target) {
			errs = append(errs, field.NotFound(at.Child("targetContainerName"), target))
		}
		errs = append(errs, refuseForEphemeral(at, ctr)...)
	}
	return errs
}

// refuseForEphemeral keeps ephemeral containers from taking part in the work
// of the pod, and from mounts that would outlive them.
func refuseForEphemeral(p *field.Path, ctr *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	for _, member := range []struct {
		child string
		set   bool
	}{
		{"ports", ctr.Ports != nil},
		{"resources", ctr.Resources.Limits != nil || ctr.Resources.Requests != nil || ctr.Resources.Claims != nil},
		{"resizePolicy", ctr.ResizePolicy != nil},
		{"restartPolicy", ctr.RestartPolicy != nil},
		{"restartPolicyRules", ctr.RestartPolicyRules != nil},
		{"livenessProbe", ctr.LivenessProbe != nil},
		{"readinessProbe", ctr.ReadinessProbe != nil},
		{"startupProbe", ctr.StartupProbe != nil},
		{"lifecycle", ctr.Lifecycle != nil},
	} {
		if member.set {
			errs = append(errs, field.Forbidden(p.Child(member.child), notForEphemeral))
		}
	}
	for i, mount := range ctr.VolumeMounts {
		at := p.Child("volumeMounts").Index(i)
		if mount.SubPath != "" {
			errs = append(errs, field.Forbidden(at.Child("subPath"), notForEphemeral))
		}
		if mount.SubPathExpr != "" {
			errs = append(errs, field.Forbidden(at.Child("subPathExpr"), notForEphemeral))
		}
	}
	return errs
}

// validateContainer has the rules for containers of every sort.
func (c *podContext) validateContainer(p *field.Path, ctr *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	if ctr.Name == "" {
		errs = append(errs, field.Required(p.Child("name"), ""))
	} else {
		errs = append(errs, check.DNSLabel(p.Child("name"), ctr.Name)...)
	}
	errs = append(errs, check.Set(p, "image", ctr.Image)...)
	errs = append(errs, check.RequiredOneOf(p.Child("terminationMessagePolicy"), ctr.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validateContainerPorts(p.Child("ports"), ctr.Ports)...)
	errs = append(errs, validateEnv(p.Child("env"), ctr.Env)...)
	errs = append(errs, validateEnvFrom(p.Child("envFrom"), ctr.EnvFrom)...)
	errs = append(errs, c.validateMounts(p.Child("volumeMounts"), ctr)...)
	errs = append(errs, c.validateDevices(p.Child("volumeDevices"), ctr)...)
	errs = append(errs, validatePullPolicy(p.Child("imagePullPolicy"), ctr.ImagePullPolicy)...)
	errs = append(errs, validateRequirements(p.Child("resources"), &ctr.Resources, ValidateContainerResource, c.claims, c.allow.IndivisibleHugePages)...)
	errs = append(errs, validateResizePolicies(p.Child("resizePolicy"), ctr.ResizePolicy, c.spec.RestartPolicy)...)
	return append(errs, c.validateSecurityContext(p.Child("securityContext"), ctr.SecurityContext)...)
}

// validateImageTrimmed holds in pods only: templates were never refused a
// padded image, and some use a single space to mean "to be filled in".
func validateImageTrimmed(p *field.Path, ctr *corev1.Container) field.ErrorList {
	if strings.TrimSpace(ctr.Image) == ctr.Image {
		return nil
	}
	return field.ErrorList{field.Invalid(p.Child("image"), ctr.Image, "must not have leading or trailing whitespace")}
}

func validatePullPolicy(p *field.Path, policy corev1.PullPolicy) field.ErrorList {
	return check.RequiredOneOf(p, policy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

func containerNames(lists ...[]corev1.Container) sets.Set[string] {
	names := sets.Set[string]{}
	for _, list := range lists {
		for i := range list {
			names.Insert(list[i].Name)
		}
	}
	return names
}

func validateContainerPorts(p *field.Path, ports []corev1.ContainerPort) field.ErrorList {
	var errs field.ErrorList
	names := sets.Set[string]{}
	for i, port := range ports {
		at := p.Index(i)
		if port.Name != "" {
			wrong := check.All(at.Child("name"), port.Name, validation.IsValidPortName(port.Name))
			if len(wrong) == 0 && names.Has(port.Name) {
				wrong = field.ErrorList{field.Duplicate(at.Child("name"), port.Name)}
			}
			if len(wrong) == 0 {
				names.Insert(port.Name)
			}
			errs = append(errs, wrong...)
		}
		if port.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, check.All(at.Child("containerPort"), port.ContainerPort, validation.IsValidPortNum(int(port.ContainerPort)))...)
		}
		if port.HostPort != 0 {
			errs = append(errs, check.All(at.Child("hostPort"), port.HostPort, validation.IsValidPortNum(int(port.HostPort)))...)
		}
		errs = append(errs, check.RequiredOneOf(at.Child("protocol"), port.Protocol, protocols...)...)
	}
	return errs
}

var protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

// validateHostPorts refuses two containers the same port of the node.
func validateHostPorts(p *field.Path, list []corev1.Container) field.ErrorList {
	var errs field.ErrorList
	taken := sets.Set[string]{}
	for i := range list {
		for j, port := range list[i].Ports {
			if port.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
			if taken.Has(key) {
				errs = append(errs, field.Duplicate(p.Index(i).Child("ports").Index(j).Child("hostPort"), key))
			}
			taken.Insert(key)
		}
	}
	return errs
}

const restartPolicyMissing = "must specify restartPolicy when restart rules are used"

func validateRestartRules(p *field.Path, policy *corev1.ContainerRestartPolicy, rules []corev1.ContainerRestartRule) field.ErrorList {
	var errs field.ErrorList
	at := p.Child("restartPolicy")
	switch {
	case policy != nil:
		errs = append(errs, check.OneOf(at, *policy,
			corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	case len(rules) > 0:
		errs = append(errs, field.Required(at, restartPolicyMissing))
	}
	if len(rules) > 20 {
		errs = append(errs, field.TooMany(p.Child("restartPolicyRules"), len(rules), 20))
	}
	for i, rule := range rules {
		at := p.Child("restartPolicyRules").Index(i)
		errs = append(errs, check.OneOf(at.Child("action"), rule.Action,
			corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)...)
		if rule.ExitCodes == nil {
			errs = append(errs, field.Required(at.Child("exitCodes"), "must be specified"))
			continue
		}
		errs = append(errs, check.OneOf(at.Child("exitCodes", "operator"), rule.ExitCodes.Operator,
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
		if n := len(rule.ExitCodes.Values); n > 255 {
			errs = append(errs, field.TooMany(at.Child("exitCodes", "values"), n, 255))
		}
	}
	return errs
}

// validateResizePolicies stands all its errors at the list, as upstream does.
func validateResizePolicies(p *field.Path, policies []corev1.ContainerResizePolicy, restart corev1.RestartPolicy) field.ErrorList {
	var errs field.ErrorList
	resources := sets.Set[corev1.ResourceName]{}
	for i, policy := range policies {
		if resources.Has(policy.ResourceName) {
			errs = append(errs, field.Duplicate(p.Index(i), policy.ResourceName))
		}
		resources.Insert(policy.ResourceName)
		errs = append(errs, check.RequiredOneOf(p, policy.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, check.RequiredOneOf(p, policy.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)...)
		if restart == corev1.RestartPolicyNever && policy.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(p, policy.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
		}
	}
	return errs
}
