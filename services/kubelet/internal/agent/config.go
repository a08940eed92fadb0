// Package agent works on the pods of one node: for each it observes, asks
// package lifecycle for the next step, takes it, and reports.
//
// # One pod, one worker
//
// A pod with something to do has one goroutine; a pod that waits has none, at
// most a timer. News about a pod (an update from the API server, an event of
// the engine, a probe's verdict, a changed ConfigMap, a timer) says no more
// than "look again": the worker is started, or looks once more when it is done.
// A step that takes long is interrupted when the pod is deleted.
package agent

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/libs/trace"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/events"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/podspec"
)

// Images have a container's image on the node. Failures are of type
// *images.Failure.
type Images interface {
	Ensure(ctx context.Context, pod *corev1.Pod, container, image string, policy corev1.PullPolicy) (engine.Image, error)
	Forget(types.UID)
}

// Files are what of a pod is on the node's disk.
type Files interface {
	Mount(ctx context.Context, pod *corev1.Pod, podIPs []string) (again time.Time, err error)
	Container(pod *corev1.Pod, c *corev1.Container, attempt int, env []engine.KeyValue, podIPs []string) ([]engine.Mount, error)
	Message(uid types.UID, container string, attempt int) string
	Remove(types.UID) error
	Pods() ([]types.UID, error)
}

// Environment makes containers' environments.
type Environment interface {
	Vars(ctx context.Context, pod *corev1.Pod, c *corev1.Container, podIPs []string) ([]engine.KeyValue, error)
}

// Hooks run what containers want done after start and before stop.
type Hooks interface {
	Run(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id, podIP string, h *corev1.LifecycleHandler) error
}

// Probes ask containers how they are.
type Probes interface {
	Sync(pod *corev1.Pod, s corev1.PodStatus, stopping bool)
	Results(types.UID) map[string]lifecycle.Probes
	Forget(types.UID)
}

// Reporter writes pods' statuses to the API server.
type Reporter interface {
	// Set reports a status soon.
	Set(pod *corev1.Pod, s corev1.PodStatus)
	// Seen tells what the API server has, so that it can be put right.
	Seen(pod *corev1.Pod)
	// Finish writes the final status at once and then deletes the pod. A pod
	// that is gone already is no error.
	Finish(ctx context.Context, pod *corev1.Pod, s corev1.PodStatus) error
	Forget(types.UID)
}

// References follow the objects that pods name.
type References interface {
	Use(pod *corev1.Pod)
	Forget(types.UID)
}

// Config is what an agent is made of. Tracer may be nil.
type Config struct {
	Log    *zap.Logger
	Tracer *trace.Tracer
	Clock  clock.WithDelayedExecution
	Events events.Recorder

	Engine engine.Runtime
	// EngineName is the scheme of container IDs in statuses.
	EngineName  string
	Images      Images
	Files       Files
	Environment Environment
	Hooks       Hooks
	Probes      Probes
	Reporter    Reporter
	References  References

	// Admit decides whether the node takes a pod beside those it has; nil
	// result means yes.
	Admit func(pod *corev1.Pod, others []*corev1.Pod) *lifecycle.Verdict
	// HostIPs are the node's addresses.
	HostIPs func() []string
	DNS     func() podspec.DNS
	// SeccompDir holds profiles of type Localhost.
	SeccompDir string
	// Memory is the node's, in bytes; zero while it is not known.
	Memory func() int64
	// PodCgroups puts pods' containers below /kubepods, as upstream does.
	PodCgroups bool
	// LogDir is where links to containers' logs are made; empty for none.
	LogDir  string
	Backoff lifecycle.BackoffLimits
	// Relist is how often the engine is asked about all pods, in case an event
	// was lost.
	Relist time.Duration
	// Observe is told of steps taken; nil for nobody.
	Observe func(verb lifecycle.Verb, took time.Duration, err error)
}
