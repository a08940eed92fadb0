package inspect

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	schedulerv1 "coracle.local/proto/coracle/scheduler/v1"
	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/engine"
	"coracle.local/services/scheduler/internal/placement"
	"coracle.local/services/scheduler/internal/preemption"
)

// thought is a pod in a cluster that is ours to change.
type thought struct {
	service  *Service
	state    *cluster.State
	snapshot *engine.Snapshot
	classes  *placement.Classes
}

// think copies the cluster as of now.
func (s *Service) think(ctx context.Context) (*thought, error) {
	snapshot, err := s.Engine.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	state := cluster.Fork(snapshot.View)
	return &thought{service: s, state: state, snapshot: snapshot, classes: placement.NewClasses(state)}, nil
}

// result is where a pod would go, or why nowhere.
type result struct {
	class   *placement.Class
	choice  placement.Choice
	ok      bool
	message string
}

func (t *thought) place(p *cluster.Pod) result {
	r := result{class: t.classes.Of(p)}
	if err := r.class.Err(); err != nil {
		r.message = err.Error()
		return r
	}
	promised := t.snapshot.Promised(p)
	var refused placement.Refusals
	if r.choice, refused, r.ok = r.class.ChooseUnpromised(promised); r.ok {
		return r
	}
	d := r.class.Diagnose(refused)
	if d.Nodes > 0 {
		d.Preemption = "preemption: " + t.preempt(p, r.class, refused, promised)
	}
	r.message = d.Message()
	return r
}

func (t *thought) preempt(p *cluster.Pod, c *placement.Class, refused placement.Refusals, promised placement.Promised) string {
	if why := preemption.Ineligible(p, &t.state.View, nil); why != "" {
		return why
	}
	candidate, why := preemption.Find(preemption.Request{
		Pod: p, Class: c, View: &t.state.View,
		Slots: c.Preemptable(refused), Budgets: t.service.Budgets(), Promised: promised,
	})
	if candidate == nil {
		return why
	}
	return candidate.Message()
}

// unbound is the pod as if it had no node yet.
func unbound(p *corev1.Pod) *cluster.Pod {
	next := *p
	next.Spec.NodeName = ""
	return cluster.NewPod(&next)
}

// Explain asks all filters and scores about all nodes.
func (s *Service) Explain(ctx context.Context, r *schedulerv1.ExplainRequest) (*schedulerv1.ExplainResponse, error) {
	object, err := s.pod(r.GetPod())
	if err != nil {
		return nil, err
	}
	t, err := s.think(ctx)
	if err != nil {
		return nil, err
	}
	out := &schedulerv1.ExplainResponse{Namespace: object.Namespace, Name: object.Name}
	_, out.Current, _ = t.state.Lookup(object.UID)
	t.state.RemovePod(object.UID)
	p := unbound(object)
	where := t.place(p)
	out.Message = where.message
	if where.ok {
		out.Chosen = where.choice.Node
	}
	for _, n := range where.class.Report() {
		if len(r.GetNodes()) > 0 && !slices.Contains(r.GetNodes(), n.Node) {
			continue
		}
		out.Nodes = append(out.Nodes, explanation(n))
	}
	slices.SortStableFunc(out.Nodes, func(a, b *schedulerv1.NodeExplanation) int {
		return cmp.Or(-compareBool(a.Feasible, b.Feasible), -compareBool(a.Node == out.Chosen, b.Node == out.Chosen),
			cmp.Compare(b.Total, a.Total), cmp.Compare(a.Node, b.Node))
	})
	return out, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

func explanation(n placement.NodeReport) *schedulerv1.NodeExplanation {
	out := &schedulerv1.NodeExplanation{Node: n.Node, Feasible: len(n.Verdicts) == 0, Total: n.Total}
	for _, v := range n.Verdicts {
		out.Rejections = append(out.Rejections, &schedulerv1.Rejection{Filter: v.Filter, Reasons: v.Reasons, Preemptable: !v.Unresolvable})
	}
	for _, s := range n.Scores {
		out.Scores = append(out.Scores, &schedulerv1.Score{Name: s.Name, Score: s.Score, Weight: s.Weight})
	}
	return out
}

// DryRun places pods in thought.
func (s *Service) DryRun(ctx context.Context, r *schedulerv1.DryRunRequest) (*schedulerv1.DryRunResponse, error) {
	count := int(max(r.GetCount(), 1))
	if count > maxDryRun {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("count: %d pods are more than %d", count, maxDryRun))
	}
	object, err := s.pod(r.GetPod())
	if err != nil {
		return nil, err
	}
	t, err := s.think(ctx)
	if err != nil {
		return nil, err
	}
	out := &schedulerv1.DryRunResponse{}
	for i := range count {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		copied := *object
		copied.UID = types.UID(fmt.Sprintf("dry-run-%d", i))
		p := unbound(&copied)
		where := t.place(p)
		out.Placements = append(out.Placements, &schedulerv1.Placement{
			Node: where.choice.Node, Feasible: int32(where.choice.Feasible), Message: where.message,
		})
		if where.ok {
			t.state.Assume(p, where.choice.Node)
			continue
		}
		// Nothing changes for the rest.
		for range count - i - 1 {
			out.Placements = append(out.Placements, &schedulerv1.Placement{Message: where.message})
		}
		break
	}
	return out, nil
}
