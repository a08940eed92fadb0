package core

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// Labels that name the role of a node.
const (
	rolePrefix = "node-role.kubernetes.io/"
	roleLabel  = "kubernetes.io/role"
)

// Node is the behaviour of core/v1 Node.
func Node() strategy.Kind[*corev1.Node] {
	info, status := corev1.NodeSystemInfo{}.SwaggerDoc(), corev1.NodeStatus{}.SwaggerDoc()
	return strategy.Kind[*corev1.Node]{
		Default:        defaultNode,
		PrepareCreate:  func(n *corev1.Node) { dropNodeFields(n); n.Spec.ConfigSource, n.Status.Config = nil, nil },
		PrepareUpdate:  prepareNodeUpdate,
		ValidateCreate: validateNode,
		ValidateUpdate: validateNodeUpdate,
		Status: &strategy.Sub[*corev1.Node]{
			PrepareUpdate: func(n, old *corev1.Node) {
				n.Spec = old.Spec
				if old.Status.Config == nil {
					n.Status.Config = nil
				}
			},
			ValidateUpdate: validateNodeStatus,
		},
		Fields: func(n *corev1.Node) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
		},
		Warnings:                 nodeWarnings,
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Status", "The status of the node"),
			cells.Text("Roles", "The roles of the node"),
			cells.Age(),
			cells.Text("Version", info["kubeletVersion"]),
			cells.Wide(cells.Text("Internal-IP", status["addresses"])),
			cells.Wide(cells.Text("External-IP", status["addresses"])),
			cells.Wide(cells.Text("OS-Image", info["osImage"])),
			cells.Wide(cells.Text("Kernel-Version", info["kernelVersion"])),
			cells.Wide(cells.Text("Container-Runtime", info["containerRuntimeVersion"])),
		),
		Cells: nodeCells,
	}
}

func defaultNode(n *corev1.Node) {
	// The single block and the list are the same thing in two shapes; old
	// clients know the single one only, so it wins.
	switch one := n.Spec.PodCIDR; {
	case one != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != one):
		n.Spec.PodCIDRs = []string{one}
	case one == "" && len(n.Spec.PodCIDRs) > 0:
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
	roundUp(n.Status.Capacity)
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	roundUp(n.Status.Allocatable)
}

func dropNodeFields(n *corev1.Node) { n.Spec.PodPreemptionPolicy = nil }

func prepareNodeUpdate(n, old *corev1.Node) {
	n.Status = old.Status
	dropNodeFields(n)
	if old.Spec.ConfigSource == nil {
		n.Spec.ConfigSource = nil
	}
}

func nodeWarnings(n, _ *corev1.Node) []string {
	var warnings []string
	if n.Spec.ConfigSource != nil {
		warnings = append(warnings, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		warnings = append(warnings, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		warnings = append(warnings, validation.GetWarningsForCIDR(specPath.Child("podCIDRs").Index(i), cidr)...)
	}
	return warnings
}

func nodeCells(n *corev1.Node) []any {
	info := &n.Status.NodeInfo
	kernel := cells.Or(info.KernelVersion, "<unknown>")
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{
		n.Name,
		nodeStatus(n),
		cells.Or(nodeRoles(n), "<none>"),
		cells.AgeOf(n),
		info.KubeletVersion,
		nodeAddress(n, corev1.NodeInternalIP),
		nodeAddress(n, corev1.NodeExternalIP),
		cells.Or(info.OSImage, "<unknown>"),
		kernel,
		cells.Or(info.ContainerRuntimeVersion, "<unknown>"),
	}
}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		status = "NotReady"
		if c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeRoles(n *corev1.Node) string {
	var roles []string
	for key, value := range n.Labels {
		role, ok := strings.CutPrefix(key, rolePrefix)
		if key == roleLabel {
			role, ok = value, true
		}
		if ok && role != "" {
			roles = append(roles, role)
		}
	}
	return cells.Sorted(roles)
}

func nodeAddress(n *corev1.Node, kind corev1.NodeAddressType) string {
	i := slices.IndexFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Type == kind })
	if i < 0 {
		return "<none>"
	}
	return n.Status.Addresses[i].Address
}
