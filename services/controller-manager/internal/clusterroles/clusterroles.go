// Package clusterroles fills ClusterRoles that are made of others.
package clusterroles

import (
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// state is a role and all others, by name.
type state struct {
	Role *rbacv1.ClusterRole
	All  []*rbacv1.ClusterRole
}

// New is clusterrole-aggregation-controller.
func New(d loop.Deps) loop.Loop {
	roles := cluster.Of[*rbacv1.ClusterRole](d.API)
	return loop.New(d, loop.Spec[loop.Key, state]{
		Name: "clusterrole-aggregation-controller",
		Sources: []loop.Source[loop.Key]{{Cache: roles, Keys: func(kinds.Object, kinds.Object) []loop.Key {
			// Any role may be part of any that is made of others, and may have been.
			var out []loop.Key
			for _, r := range cluster.List(roles, "", aggregates) {
				out = append(out, loop.Key{Name: r.Name})
			}
			return out
		}}},
		Observe: func(k loop.Key, _ time.Time) (state, bool) {
			r, ok := cluster.Get[*rbacv1.ClusterRole](roles, "", k.Name)
			if !ok || !aggregates(r) {
				return state{}, false
			}
			return state{r, cluster.List[*rbacv1.ClusterRole](roles, "")}, true
		},
		Compute: compute,
	})
}

func aggregates(r *rbacv1.ClusterRole) bool { return r.AggregationRule != nil }

func compute(s state, _ time.Time) plan.Plan {
	var rules []rbacv1.PolicyRule
	for i := range s.Role.AggregationRule.ClusterRoleSelectors {
		selector := owner.Selector(&s.Role.AggregationRule.ClusterRoleSelectors[i])
		for _, r := range s.All {
			if r.Name == s.Role.Name || !selector.Matches(labels.Set(r.Labels)) {
				continue
			}
			for _, rule := range r.Rules {
				if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return apiequality.Semantic.DeepEqual(have, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	if apiequality.Semantic.DeepEqual(rules, s.Role.Rules) {
		return plan.Plan{}
	}
	r := s.Role.DeepCopy()
	r.Rules = rules
	return plan.Plan{Do: []plan.Action{plan.Update{Object: r}}}
}
