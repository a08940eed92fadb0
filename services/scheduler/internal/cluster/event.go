package cluster

import corev1 "k8s.io/api/core/v1"

// EventKind says what happened in the cluster.
type EventKind uint8

// What may make a waiting pod schedulable.
const (
	PodAssigned EventKind = iota + 1
	// PodChanged is an assigned pod with other labels or smaller requests, or
	// one that began to terminate.
	PodChanged
	PodGone
	NodeAdded
	NodeChanged
	NodeGone
	// NamespaceChanged is a namespace that came or has other labels.
	NamespaceChanged
	// ClaimChanged, VolumeChanged and ClassChanged concern storage.
	ClaimChanged
	VolumeChanged
	ClassChanged
	// TargetChanged is an update of the waiting pod itself.
	TargetChanged
)

// String is the kind's name in logs and answers.
func (k EventKind) String() string {
	names := [...]string{
		"", "pod assigned", "pod changed", "pod gone", "node added", "node changed", "node gone",
		"namespace changed", "claim changed", "volume changed", "storage class changed", "pod updated",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Event is one thing that happened. Each filter says whether it helps a pod
// that the filter rejected.
type Event struct {
	Kind EventKind
	// OldPod and Pod are the pod before and after.
	OldPod, Pod *Pod
	// OldNode and Node are the node before and after; Changed are the facts in
	// which they differ.
	OldNode, Node *corev1.Node
	Changed       NodeChange
	// Namespace and Name identify the object of a storage event.
	Namespace, Name string
}
