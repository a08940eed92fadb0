// Package reach finds the container that a caller means, or says in upstream's
// words why there is none to be reached.
package reach

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/agent"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/images"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// Pods are the pods of the node.
type Pods interface {
	Snapshots() []agent.Snapshot
	Snapshot(namespace, name string, uid types.UID) (agent.Snapshot, bool)
}

// Pod finds a pod.
func Pod(pods Pods, namespace, name string, uid types.UID) (agent.Snapshot, error) {
	s, ok := pods.Snapshot(namespace, name, uid)
	if !ok {
		return s, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	return s, nil
}

// Container resolves a container's name; it may be left out where the pod has
// only one.
func Container(s agent.Snapshot, name string) (*corev1.Container, error) {
	if name == "" {
		if len(s.Pod.Spec.Containers) != 1 {
			var names []string
			for i := range s.Pod.Spec.Containers {
				names = append(names, s.Pod.Spec.Containers[i].Name)
			}
			return nil, apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", s.Pod.Name, names))
		}
		name = s.Pod.Spec.Containers[0].Name
	}
	c := lifecycle.SpecOf(s.Pod, name)
	if c == nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, s.Pod.Name))
	}
	return c, nil
}

// Running finds the running instance of a container.
func Running(s agent.Snapshot, name string) (id string, c *corev1.Container, err error) {
	if c, err = Container(s, name); err != nil {
		return "", nil, err
	}
	for _, x := range s.Seen.Containers {
		if x.Name == c.Name && x.State == engine.Running {
			return x.ID, c, nil
		}
	}
	return "", nil, apierrors.NewBadRequest(fmt.Sprintf("container %s is not running in pod %s/%s", c.Name, s.Pod.Namespace, s.Pod.Name))
}

// Sandbox finds the pod's sandbox.
func Sandbox(s agent.Snapshot) (string, error) {
	for _, x := range s.Seen.Sandboxes {
		if x.Ready {
			return x.ID, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("unable to forward port because pod is not running. Current status=%v", s.Pod.Status.Phase))
}

// Logs finds the instance whose log is meant: the present one or, with
// previous, the one before.
func Logs(s agent.Snapshot, name string, previous bool) (id string, err error) {
	c, err := Container(s, name)
	if err != nil {
		return "", err
	}
	status, ok := lifecycle.StatusOf(s.Pod, c.Name)
	if !ok {
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is not available", c.Name, s.Pod.Name))
	}
	id, why := instance(status, previous)
	if why != "" {
		return "", apierrors.NewBadRequest(fmt.Sprintf(why, c.Name, s.Pod.Name))
	}
	_, id, _ = strings.Cut(id, "://")
	return id, nil
}

// instance chooses a container ID, or says why there is none to choose.
func instance(s corev1.ContainerStatus, previous bool) (id, why string) {
	last := ""
	if t := s.LastTerminationState.Terminated; t != nil {
		last = t.ContainerID
	}
	switch {
	case previous && last == "":
		return "", "previous terminated container %q in pod %q not found"
	case previous:
		return last, ""
	case s.State.Running != nil:
		return s.ContainerID, ""
	case s.State.Terminated != nil && s.State.Terminated.ContainerID != "":
		return s.State.Terminated.ContainerID, ""
	case last != "":
		return last, ""
	case s.State.Terminated != nil, s.LastTerminationState.Terminated != nil:
		return "", "container %q in pod %q is terminated"
	case s.State.Waiting == nil:
		return "", "container %q in pod %q is waiting to start - no logs yet"
	}
	switch reason := s.State.Waiting.Reason; reason {
	case images.ErrImagePull:
		return "", "container %q in pod %q is waiting to start: image can't be pulled"
	case images.ImagePullBackOff:
		return "", "container %q in pod %q is waiting to start: trying and failing to pull image"
	default:
		return "", "container %q in pod %q is waiting to start: " + strings.ReplaceAll(reason, "%", "%%")
	}
}

// Explain gives an engine's errors the API's vocabulary.
func Explain(err error, what string) error {
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return apierrors.NewNotFound(corev1.Resource("containers"), what)
	case errors.Is(err, engine.ErrNotRunning):
		return apierrors.NewBadRequest(fmt.Sprintf("%s: %v", what, err))
	}
	return err
}
