package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/qos"
)

// Bounds of CPU control, the kernel's.
const (
	minShares, maxShares = 2, 262144
	quotaPeriod          = 100000 // microseconds
	minQuota             = 1000
)

// Resources are a container's limits as an engine takes them. memory is what
// the node has.
func Resources(pod *corev1.Pod, c *corev1.Container, memory int64) engine.Resources {
	cpu := c.Resources.Requests.Cpu().MilliValue()
	if cpu == 0 {
		cpu = c.Resources.Limits.Cpu().MilliValue()
	}
	out := engine.Resources{
		CPUShares:   min(max(cpu*1024/1000, minShares), maxShares),
		MemoryBytes: c.Resources.Limits.Memory().Value(),
		OOMScoreAdj: qos.OOMScoreAdj(pod, c, memory),
	}
	if limit := c.Resources.Limits.Cpu().MilliValue(); limit > 0 {
		out.CPUPeriod, out.CPUQuota = quotaPeriod, max(limit*quotaPeriod/1000, minQuota)
	}
	return out
}

// CgroupParent is where upstream puts a pod's containers.
func CgroupParent(pod *corev1.Pod) string {
	switch qos.Of(pod) {
	case corev1.PodQOSGuaranteed:
		return "/kubepods/pod" + string(pod.UID)
	case corev1.PodQOSBestEffort:
		return "/kubepods/besteffort/pod" + string(pod.UID)
	}
	return "/kubepods/burstable/pod" + string(pod.UID)
}

// Sandbox describes a pod's sandbox; DNS and host name are the caller's.
func Sandbox(pod *corev1.Pod, attempt int, seccompDir string) engine.SandboxSpec {
	spec := engine.SandboxSpec{
		PodUID: pod.UID, Namespace: pod.Namespace, Name: pod.Name, Attempt: attempt,
		HostNetwork: pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC,
		ShareProcessNamespace: isTrue(pod.Spec.ShareProcessNamespace),
		Labels:                pod.Labels, Annotations: pod.Annotations,
		Security: SandboxSecurity(pod, seccompDir),
		Sysctls:  map[string]string{},
	}
	if s := pod.Spec.SecurityContext; s != nil {
		for _, ctl := range s.Sysctls {
			spec.Sysctls[dotted(ctl.Name)] = ctl.Value
		}
	}
	if !pod.Spec.HostNetwork {
		spec.PortMappings = portMappings(pod)
	}
	return spec
}

// dotted writes a sysctl's name with dots where it is written with slashes;
// the two then change places.
func dotted(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}

func portMappings(pod *corev1.Pod) []engine.PortMapping {
	var out []engine.PortMapping
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				out = append(out, engine.PortMapping{HostIP: p.HostIP, HostPort: p.HostPort, ContainerPort: p.ContainerPort, Protocol: protocol(p.Protocol)})
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		if lifecycle.IsSidecar(&pod.Spec.InitContainers[i]) {
			add(&pod.Spec.InitContainers[i])
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}

func protocol(p corev1.Protocol) string {
	if p == "" {
		return string(corev1.ProtocolTCP)
	}
	return string(p)
}

// KindAnnotation of a container tells what it is to its pod.
const KindAnnotation = "coracle.local/container-kind"

// The kinds of containers.
const (
	KindRegular   = "regular"
	KindInit      = "init"
	KindSidecar   = "sidecar"
	KindEphemeral = "ephemeral"
)

func kind(pod *corev1.Pod, name string) string {
	for i := range pod.Spec.InitContainers {
		switch c := &pod.Spec.InitContainers[i]; {
		case c.Name != name:
		case lifecycle.IsSidecar(c):
			return KindSidecar
		default:
			return KindInit
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return KindEphemeral
		}
	}
	return KindRegular
}

// Container describes a container but for what its environment, image and
// mounts are; those are the caller's.
func Container(pod *corev1.Pod, c *corev1.Container, attempt int, memory int64) engine.ContainerSpec {
	spec := engine.ContainerSpec{
		PodUID: pod.UID, PodNamespace: pod.Namespace, PodName: pod.Name, Name: c.Name, Attempt: attempt,
		ImageName: c.Image, WorkingDir: c.WorkingDir,
		Resources: Resources(pod, c, memory), SpecHash: lifecycle.Hash(c),
		Annotations: map[string]string{KindAnnotation: kind(pod, c.Name)},
		Stdin:       c.Stdin, StdinOnce: c.StdinOnce, TTY: c.TTY,
		HostPID: pod.Spec.HostPID, ShareProcessNS: isTrue(pod.Spec.ShareProcessNamespace), HostNetwork: pod.Spec.HostNetwork,
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		spec.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	return spec
}
