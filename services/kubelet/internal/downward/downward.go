// Package downward resolves what a pod may ask about itself: its fields and
// its containers' resources, for environment variables and volumes.
package downward

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Node is what the answers need of the node.
type Node struct {
	// HostIPs are the node's addresses, the primary first.
	HostIPs []string
	// Allocatable stands in for limits that are not set.
	Allocatable corev1.ResourceList
}

// Field is the value of a field path of the pod.
func Field(pod *corev1.Pod, path string, podIPs []string, node Node) (string, error) {
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		if len(node.HostIPs) == 0 {
			return "", fmt.Errorf("the node's address is not known yet")
		}
		return node.HostIPs[0], nil
	case "status.hostIPs":
		return strings.Join(node.HostIPs, ","), nil
	case "status.podIP":
		return first(podIPs), nil
	case "status.podIPs":
		return strings.Join(podIPs, ","), nil
	}
	return metadata(pod, path)
}

func metadata(pod *corev1.Pod, path string) (string, error) {
	if rest, ok := strings.CutSuffix(path, "']"); ok {
		if field, key, ok := strings.Cut(rest, "['"); ok && field != "" {
			return subscript(pod, path, field, key)
		}
	}
	switch path {
	case "metadata.annotations":
		return formatMap(pod.Annotations), nil
	case "metadata.labels":
		return formatMap(pod.Labels), nil
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

func subscript(pod *corev1.Pod, path, field, key string) (string, error) {
	var values map[string]string
	switch field {
	case "metadata.annotations":
		values = pod.Annotations
	case "metadata.labels":
		values = pod.Labels
	default:
		return "", fmt.Errorf("fieldPath %q does not support subscript", path)
	}
	if errs := validation.IsQualifiedName(strings.ToLower(key)); len(errs) > 0 {
		return "", fmt.Errorf("invalid key subscript in %s: %s", path, strings.Join(errs, ";"))
	}
	return values[key], nil
}

// formatMap has a line key="value" for each entry, sorted.
func formatMap(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for k, v := range m {
		lines = append(lines, k+"="+strconv.Quote(v))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// Resource is a container's request or limit in units of the divisor. c is
// meant where the selector names no container.
func Resource(pod *corev1.Pod, c *corev1.Container, fs *corev1.ResourceFieldSelector, node Node) (string, error) {
	if fs.ContainerName != "" {
		if c = find(pod, fs.ContainerName); c == nil {
			return "", fmt.Errorf("container %s not found", fs.ContainerName)
		}
	}
	if c == nil {
		return "", fmt.Errorf("no container is named for resource %s", fs.Resource)
	}
	divisor := fs.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	kind, name, _ := strings.Cut(fs.Resource, ".")
	resourceName := corev1.ResourceName(name)
	var q resource.Quantity
	switch {
	case kind == "limits" && known(resourceName):
		q = limit(pod, c, resourceName, node)
	case kind == "requests" && known(resourceName):
		q = c.Resources.Requests[resourceName]
	default:
		return "", fmt.Errorf("unsupported container resource : %v", fs.Resource)
	}
	if resourceName == corev1.ResourceCPU {
		return strconv.FormatInt(int64(math.Ceil(float64(q.MilliValue())/float64(divisor.MilliValue()))), 10), nil
	}
	return strconv.FormatInt(int64(math.Ceil(float64(q.Value())/float64(divisor.Value()))), 10), nil
}

func known(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// limit is a container's limit, else the pod's, else all the node has.
func limit(pod *corev1.Pod, c *corev1.Container, name corev1.ResourceName, node Node) resource.Quantity {
	if q, ok := c.Resources.Limits[name]; ok && !q.IsZero() {
		return q
	}
	if pod.Spec.Resources != nil {
		if q, ok := pod.Spec.Resources.Limits[name]; ok {
			return q
		}
	}
	return node.Allocatable[name]
}

func find(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
