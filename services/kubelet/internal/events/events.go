// Package events tells users what a kubelet did for their pods, in upstream's
// words.
package events

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

// Recorder writes events. The zero value writes none.
type Recorder struct {
	Sink record.EventRecorder
	// Quiet leaves out what went well: an engine without containers has
	// nothing to tell of pulling and starting.
	Quiet bool
}

// Pod records an event about a pod.
func (r Recorder) Pod(pod *corev1.Pod, kind, reason, format string, args ...any) {
	r.record(ref(pod, ""), kind, reason, fmt.Sprintf(format, args...))
}

// Container records an event about one container of a pod. An engine's error
// often holds the container's ID, which would make every event a new one;
// id, when not empty, is replaced by the container's name.
func (r Recorder) Container(pod *corev1.Pod, name, id, kind, reason, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if id != "" {
		message = strings.ReplaceAll(message, id, name)
	}
	r.record(ref(pod, path(pod, name)), kind, reason, message)
}

// Node records an event about a node. Its UID is the node's name until the
// real one is known, as upstream's is.
func (r Recorder) Node(name string, uid types.UID, kind, reason, format string, args ...any) {
	if uid == "" {
		uid = types.UID(name)
	}
	r.record(&corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: name, UID: uid}, kind, reason, fmt.Sprintf(format, args...))
}

func (r Recorder) record(ref *corev1.ObjectReference, kind, reason, message string) {
	if r.Sink == nil || r.Quiet && kind == corev1.EventTypeNormal {
		return
	}
	r.Sink.Event(ref, kind, reason, message)
}

func ref(pod *corev1.Pod, fieldPath string) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath,
	}
}

// path says where in its pod a container stands.
func path(pod *corev1.Pod, name string) string {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return "spec.initContainers{" + name + "}"
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return "spec.ephemeralContainers{" + name + "}"
		}
	}
	return "spec.containers{" + name + "}"
}
