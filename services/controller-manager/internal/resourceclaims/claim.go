package resourceclaims

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
)

// computeClaim drops the reservations of pods that are done, which it asks the
// API server about where no cache shows them.
func computeClaim(s claimState, _ time.Time) plan.Plan {
	var ask plan.Parallel
	var asked []int
	gone := map[int]bool{}
	for i, r := range s.Claim.Status.ReservedFor {
		if r.APIGroup != "" || r.Resource != "pods" {
			continue
		}
		switch p := s.Pods[r.Name]; {
		case p == nil:
			ask.Parts = append(ask.Parts, plan.Get{Kind: kinds.For[*corev1.Pod](), Namespace: s.Claim.Namespace, Name: r.Name})
			asked = append(asked, i)
		case p.UID != r.UID || done(p):
			gone[i] = true
		}
	}
	if len(asked) == 0 {
		return s.keep(gone)
	}
	return plan.Plan{Do: []plan.Action{ask}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		for n, i := range asked {
			p := out.Results[0].Each[n].Object
			if p == nil || p.GetUID() != s.Claim.Status.ReservedFor[i].UID {
				gone[i] = true
			}
		}
		return s.keep(gone)
	}}
}

// keep writes the reservations that are left. Without any, what was allocated
// here is given back, and a claim made for a pod that is done goes.
func (s claimState) keep(gone map[int]bool) plan.Plan {
	c := s.Claim
	var left []resourcev1.ResourceClaimConsumerReference
	for i, r := range c.Status.ReservedFor {
		if !gone[i] {
			left = append(left, r)
		}
	}
	ours := slices.Contains(c.Finalizers, resourcev1.Finalizer)
	switch {
	case len(gone) > 0:
		c = c.DeepCopy()
		c.Status.ReservedFor = left
		if len(left) == 0 && ours {
			c.Status.Allocation = nil
		}
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(c)}, Then: s.written}
	case ours && c.DeletionTimestamp != nil && len(left) == 0 && c.Status.Allocation != nil:
		c = c.DeepCopy()
		c.Status.Allocation = nil
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(c)}, Then: s.written}
	case ours && c.DeletionTimestamp != nil && len(left) == 0:
		return plan.Plan{Do: []plan.Action{free(c)}}
	case len(left) == 0:
		return s.unneeded()
	}
	return plan.Plan{}
}

// written goes on with the claim as the API server has it.
func (s claimState) written(out plan.Outcome) plan.Plan {
	if out.Err != nil {
		return plan.Plan{}
	}
	c := out.Results[0].Object.(*resourcev1.ResourceClaim)
	if c.Status.Allocation != nil || !slices.Contains(c.Finalizers, resourcev1.Finalizer) {
		if len(c.Status.ReservedFor) == 0 {
			return s.unneeded()
		}
		return plan.Plan{}
	}
	return plan.Plan{Do: []plan.Action{free(c)}, Then: func(plan.Outcome) plan.Plan { return s.unneeded() }}
}

func free(c *resourcev1.ResourceClaim) plan.Action {
	c = c.DeepCopy()
	c.Finalizers = slices.DeleteFunc(c.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
	return plan.Update{Object: c, MayMiss: true}
}

// unneeded deletes a claim that was made for a pod which is done. That a pod
// is not known is the garbage collector's matter.
func (s claimState) unneeded() plan.Plan {
	r := owningPod(s.Claim)
	if r == nil || s.Claim.DeletionTimestamp != nil {
		return plan.Plan{}
	}
	if p := s.Pods[r.Name]; p == nil || p.UID == r.UID && !done(p) {
		return plan.Plan{}
	}
	return plan.Plan{Do: []plan.Action{plan.DeleteOf(s.Claim)}}
}
