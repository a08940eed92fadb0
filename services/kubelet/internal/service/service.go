// Package service is the kubelet's gRPC API: what its pods are at, and the
// streams into their containers.
package service

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
	"coracle.local/services/kubelet/internal/agent"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/reach"
	"coracle.local/services/kubelet/internal/stats"
)

// Stats measures.
type Stats interface {
	Measure(ctx context.Context, only types.UID) (stats.Summary, error)
}

// Config is what the service is made of.
type Config struct {
	Node   string
	Pods   reach.Pods
	Engine engine.Runtime
	Stats  Stats
	Clock  clock.PassiveClock
}

// Service implements coracle.kubelet.v1.KubeletService.
type Service struct {
	kubeletv1.UnimplementedKubeletServiceServer
	cfg Config
}

// New makes the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { kubeletv1.RegisterKubeletServiceServer(r, s) }

// ListPods tells of all pods.
func (s *Service) ListPods(_ context.Context, r *kubeletv1.ListPodsRequest) (*kubeletv1.ListPodsResponse, error) {
	out := &kubeletv1.ListPodsResponse{Node: s.cfg.Node}
	for _, p := range s.cfg.Pods.Snapshots() {
		if r.GetNamespace() == "" || r.GetNamespace() == p.Pod.Namespace {
			out.Pods = append(out.Pods, summary(p))
		}
	}
	return out, nil
}

// GetPod tells more of one pod.
func (s *Service) GetPod(_ context.Context, r *kubeletv1.GetPodRequest) (*kubeletv1.GetPodResponse, error) {
	p, err := s.find(r.GetPod())
	if err != nil {
		return nil, err
	}
	out := &kubeletv1.GetPodResponse{Pod: summary(p)}
	for _, x := range p.Seen.Sandboxes {
		out.Sandboxes = append(out.Sandboxes, &kubeletv1.SandboxDetail{
			Id: x.ID, Attempt: int32(x.Attempt), Ready: x.Ready, Ips: x.IPs, CreatedAt: stamp(x.CreatedAt),
		})
	}
	for _, x := range p.Seen.Containers {
		probes := p.Probes[x.ID]
		out.Containers = append(out.Containers, &kubeletv1.ContainerDetail{
			Id: x.ID, Name: x.Name, Attempt: int32(x.Attempt), State: string(x.State), Image: x.Image, ImageId: x.ImageID,
			CreatedAt: stamp(x.CreatedAt), StartedAt: stamp(x.StartedAt), FinishedAt: stamp(x.FinishedAt),
			ExitCode: int32(x.ExitCode), Reason: x.Reason, Message: x.Message,
			StartupProbe: string(probes.Startup), LivenessProbe: string(probes.Liveness), ReadinessProbe: string(probes.Readiness),
		})
	}
	for _, h := range p.Memory.Holds {
		out.Holds = append(out.Holds, &kubeletv1.Hold{Container: h.Container, Reason: h.Reason, Message: h.Message, Until: stamp(h.Until)})
	}
	if p.Failure != nil {
		out.LastError = p.Failure.Error()
	}
	if p.Stop != nil {
		out.Stopping = &kubeletv1.Stopping{Reason: p.Stop.Reason, Grace: durationpb.New(lifecycle.StopGrace(p.Pod, p.Memory.Grace))}
	}
	return out, nil
}

func (s *Service) find(r *kubeletv1.PodRef) (agent.Snapshot, error) {
	return reach.Pod(s.cfg.Pods, r.GetNamespace(), r.GetName(), types.UID(r.GetUid()))
}

func summary(p agent.Snapshot) *kubeletv1.PodSummary {
	out := &kubeletv1.PodSummary{
		Pod:   &kubeletv1.PodRef{Namespace: p.Pod.Namespace, Name: p.Pod.Name, Uid: string(p.Pod.UID)},
		Phase: string(p.Pod.Status.Phase), Containers: int32(len(p.Pod.Spec.Containers)), Orphan: p.Orphan,
		Next: &kubeletv1.Step{Verb: string(p.Next.Verb), Containers: p.Next.Names(), Why: p.Next.Why, Until: stamp(p.Next.Until)},
	}
	for _, ip := range p.Pod.Status.PodIPs {
		out.Ips = append(out.Ips, ip.IP)
	}
	for _, c := range p.Pod.Status.ContainerStatuses {
		out.Restarts += c.RestartCount
		if c.Ready {
			out.ContainersReady++
		}
	}
	for _, c := range p.Pod.Status.Conditions {
		out.Ready = out.Ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	return out
}

// stamp leaves unset what is not set.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// Logs copies a container's output.
func (s *Service) Logs(r *kubeletv1.LogsRequest, out grpc.ServerStreamingServer[kubeletv1.LogsResponse]) error {
	p, err := s.find(r.GetPod())
	if err != nil {
		return err
	}
	id, err := reach.Logs(p, r.GetContainer(), r.GetPrevious())
	if err != nil {
		return err
	}
	o := engine.LogOptions{Follow: r.GetFollow(), Timestamps: r.GetTimestamps(), Tail: -1, LimitBytes: r.GetLimitBytes()}
	if r.TailLines != nil {
		o.Tail = r.GetTailLines()
	}
	switch {
	case r.GetSinceTime() != nil:
		o.Since = r.GetSinceTime().AsTime()
	case r.SinceSeconds != nil:
		o.Since = s.cfg.Clock.Now().Add(-time.Duration(r.GetSinceSeconds()) * time.Second)
	}
	send := serialize(func(b []byte, which kubeletv1.Stream) error {
		return out.Send(&kubeletv1.LogsResponse{Data: b, Stream: which})
	})
	stdout, stderr := send.writer(kubeletv1.Stream_STREAM_STDOUT), send.writer(kubeletv1.Stream_STREAM_STDERR)
	switch r.GetStream() {
	case kubeletv1.Stream_STREAM_STDOUT:
		stderr = nil
	case kubeletv1.Stream_STREAM_STDERR:
		stdout = nil
	}
	err = s.cfg.Engine.Logs(out.Context(), id, o, orNothing(stdout), orNothing(stderr))
	return reach.Explain(err, r.GetContainer())
}

// Stats measures.
func (s *Service) Stats(ctx context.Context, r *kubeletv1.StatsRequest) (*kubeletv1.StatsResponse, error) {
	only := types.UID("")
	if r.GetPod() != nil {
		p, err := s.find(r.GetPod())
		if err != nil {
			return nil, err
		}
		only = p.Pod.UID
	}
	m, err := s.cfg.Stats.Measure(ctx, only)
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	return toProto(m, only == ""), nil
}
