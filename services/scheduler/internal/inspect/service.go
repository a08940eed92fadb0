// Package inspect is the scheduler's gRPC service: why a pod is where it is,
// what waits, and where pods would go.
package inspect

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	schedulerv1 "coracle.local/proto/coracle/scheduler/v1"
	"coracle.local/services/scheduler/internal/engine"
	"coracle.local/services/scheduler/internal/queue"
)

// maxDryRun bounds the pods of one dry run.
const maxDryRun = 10_000

// Pods finds the pods that exist.
type Pods interface {
	Pod(namespace, name string) (*corev1.Pod, bool)
}

// Service answers from the engine.
type Service struct {
	schedulerv1.UnimplementedSchedulerServiceServer
	Engine  *engine.Engine
	Pods    Pods
	Budgets func() []*policyv1.PodDisruptionBudget
}

// Register adds the service to a server.
func (s *Service) Register(g *grpc.Server) { schedulerv1.RegisterSchedulerServiceServer(g, s) }

// Queue lists the pods that wait: those that are tried first come first, of the
// others the oldest.
func (s *Service) Queue(ctx context.Context, r *schedulerv1.QueueRequest) (*schedulerv1.QueueResponse, error) {
	list, err := s.Engine.Queue(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b engine.Waiting) int {
		return cmp.Or(cmp.Compare(stateOf(a), stateOf(b)), cmp.Compare(b.Priority, a.Priority), a.Since.Compare(b.Since),
			cmp.Compare(a.Pod.Namespace+"/"+a.Pod.Name, b.Pod.Namespace+"/"+b.Pod.Name))
	})
	out := &schedulerv1.QueueResponse{}
	for _, w := range list {
		if r.GetNamespace() != "" && r.GetNamespace() != w.Pod.Namespace {
			continue
		}
		out.Pods = append(out.Pods, &schedulerv1.QueuedPod{
			Namespace: w.Pod.Namespace, Name: w.Pod.Name, Uid: string(w.Pod.UID), State: stateOf(w),
			Priority: w.Priority, Attempts: int32(w.Attempts), Since: timestamppb.New(w.Since),
			RejectedBy: w.RejectedBy, Message: w.Message, Node: w.Node,
		})
	}
	return out, nil
}

func stateOf(w engine.Waiting) schedulerv1.QueueState {
	switch {
	case w.Binding:
		return schedulerv1.QueueState_QUEUE_STATE_BINDING
	case w.Place == queue.Active:
		return schedulerv1.QueueState_QUEUE_STATE_ACTIVE
	case w.Place == queue.Backoff:
		return schedulerv1.QueueState_QUEUE_STATE_BACKOFF
	case w.Place == queue.Unschedulable:
		return schedulerv1.QueueState_QUEUE_STATE_UNSCHEDULABLE
	case w.Place == queue.Gated:
		return schedulerv1.QueueState_QUEUE_STATE_GATED
	default:
		return schedulerv1.QueueState_QUEUE_STATE_UNSPECIFIED
	}
}

// Decisions streams decisions until the client goes.
func (s *Service) Decisions(r *schedulerv1.DecisionsRequest, stream grpc.ServerStreamingServer[schedulerv1.DecisionsResponse]) error {
	err := s.Engine.Feed().Read(stream.Context(), int(r.GetHistory()), func(d engine.Decision) error {
		if r.GetNamespace() != "" && r.GetNamespace() != d.Pod.Namespace {
			return nil
		}
		return stream.Send(&schedulerv1.DecisionsResponse{Decision: message(d)})
	})
	if errors.Is(err, engine.ErrSlow) {
		return apierrors.NewTooManyRequests(err.Error(), 1)
	}
	return err
}

func message(d engine.Decision) *schedulerv1.Decision {
	return &schedulerv1.Decision{
		Time: timestamppb.New(d.Time), Namespace: d.Pod.Namespace, Name: d.Pod.Name, Uid: string(d.Pod.UID),
		Outcome: outcome(d.Outcome), Node: d.Node, Message: d.Message, Attempt: int32(d.Attempt),
		Feasible: int32(d.Feasible), Score: d.Score, Took: durationpb.New(d.Took), Victims: d.Victims,
	}
}

func outcome(o engine.Outcome) schedulerv1.Outcome {
	switch o {
	case engine.Placed:
		return schedulerv1.Outcome_OUTCOME_PLACED
	case engine.Bound:
		return schedulerv1.Outcome_OUTCOME_BOUND
	case engine.Unschedulable:
		return schedulerv1.Outcome_OUTCOME_UNSCHEDULABLE
	case engine.Preempting:
		return schedulerv1.Outcome_OUTCOME_PREEMPTING
	case engine.Failed:
		return schedulerv1.Outcome_OUTCOME_FAILED
	default:
		return schedulerv1.Outcome_OUTCOME_UNSPECIFIED
	}
}
