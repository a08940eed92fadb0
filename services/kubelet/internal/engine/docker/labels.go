package docker

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// The labels that hold a container's identity. Those of io.kubernetes are
// known to log collectors and monitors; the engine has no other memory of
// what a container is to us.
const (
	labelType      = "io.kubernetes.docker.type"
	labelNamespace = "io.kubernetes.pod.namespace"
	labelPod       = "io.kubernetes.pod.name"
	labelUID       = "io.kubernetes.pod.uid"
	labelContainer = "io.kubernetes.container.name"
	labelSandbox   = "io.kubernetes.sandbox.id"
	labelLogPath   = "io.kubernetes.container.logpath"
	labelHash      = "io.kubernetes.container.hash"

	labelInstance = "coracle.local/instance"
	labelAttempt  = "coracle.local/attempt"
	labelImage    = "coracle.local/image"
	labelCgroup   = "coracle.local/cgroup-parent"

	annotationPrefix = "annotation."

	typeSandbox   = "podsandbox"
	typeContainer = "container"

	// sandboxContainer stands for the container's name in a sandbox's name.
	sandboxContainer = "POD"
)

// identity is what makes a container ours. All of it is written always, so
// that no label of a pod can pass for it.
type identity struct {
	instance, kind, namespace, pod string
	uid                            types.UID
	container, sandbox             string
	attempt                        int
	logPath, hash, image, cgroup   string
}

func (i identity) labels() map[string]string {
	return map[string]string{
		labelInstance: i.instance, labelType: i.kind,
		labelNamespace: i.namespace, labelPod: i.pod, labelUID: string(i.uid),
		labelContainer: i.container, labelSandbox: i.sandbox, labelAttempt: strconv.Itoa(i.attempt),
		labelLogPath: i.logPath, labelHash: i.hash, labelImage: i.image, labelCgroup: i.cgroup,
	}
}

// identify reads an identity back. Somebody may have written such labels by
// hand, so an unreadable attempt is zero.
func identify(l map[string]string) identity {
	attempt, _ := strconv.Atoi(l[labelAttempt])
	return identity{
		instance: l[labelInstance], kind: l[labelType],
		namespace: l[labelNamespace], pod: l[labelPod], uid: types.UID(l[labelUID]),
		container: l[labelContainer], sandbox: l[labelSandbox], attempt: attempt,
		logPath: l[labelLogPath], hash: l[labelHash], image: l[labelImage], cgroup: l[labelCgroup],
	}
}

// name follows the scheme that people and tools know from Kubernetes on
// Docker. It is unique, so the engine itself refuses a second one.
func (i identity) name() string {
	container := i.container
	if i.kind == typeSandbox {
		container = sandboxContainer
	}
	return fmt.Sprintf("k8s_%s_%s_%s_%s_%d", container, i.pod, i.namespace, i.uid, i.attempt)
}

func joinLabels(id identity, labels, annotations map[string]string) map[string]string {
	all := maps.Clone(labels)
	if all == nil {
		all = map[string]string{}
	}
	for key, value := range annotations {
		all[annotationPrefix+key] = value
	}
	maps.Copy(all, id.labels())
	return all
}

func splitLabels(all map[string]string) (labels, annotations map[string]string) {
	ours := identity{}.labels()
	labels, annotations = map[string]string{}, map[string]string{}
	for key, value := range all {
		if _, own := ours[key]; own {
			continue
		}
		if annotation, ok := strings.CutPrefix(key, annotationPrefix); ok {
			annotations[annotation] = value
		} else {
			labels[key] = value
		}
	}
	return labels, annotations
}
