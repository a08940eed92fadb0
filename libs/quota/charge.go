package quota

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Limited is a resource that may be used only as far as a quota allows, and not
// at all where there is none.
type Limited struct {
	APIGroup string `json:"apiGroup,omitempty"`
	Resource string `json:"resource"`
	// MatchContains limits what has one of these in its name.
	MatchContains []string `json:"matchContains,omitempty"`
	// MatchScopes limits what is in one of these scopes.
	MatchScopes []Requirement `json:"matchScopes,omitempty"`
}

// Uncovered says that an object is in scopes that are limited and that no quota
// covers. Unlike other refusals it is no rule of a quota.
type Uncovered struct{ Scopes []Requirement }

func (u Uncovered) Error() string {
	return fmt.Sprintf("insufficient quota to match these scopes: %v", u.Scopes)
}

// Charge is what all quotas of a namespace would be after a write. The quotas
// given are not changed; those returned share what did not change. An error
// says in upstream's words which quota forbids the write.
func (e *Evaluator) Charge(quotas []*corev1.ResourceQuota, c Change, w World, limited []Limited) ([]*corev1.ResourceQuota, error) {
	usage := e.Usage(c.Object, w)
	a := assessment{e: e, quotas: quotas, change: c, world: w, usage: usage}
	if err := a.find(); err != nil {
		return nil, err
	}
	if negative := negativeNames(usage); len(negative) > 0 {
		return nil, fmt.Errorf("quota usage is negative for resource(s): %s", join(negative))
	}
	a.measure()
	if len(a.growth) == 0 {
		return quotas, nil
	}
	if err := a.covered(limited); err != nil {
		return nil, err
	}
	out := slices.Clone(quotas)
	for _, i := range a.limiting {
		charged, err := charged(quotas[i], a.growth[i], c.Subresource == "status")
		if err != nil {
			return nil, err
		}
		out[i] = charged
	}
	return out, nil
}

// assessment is one write held against all quotas of its namespace.
type assessment struct {
	e      *Evaluator
	quotas []*corev1.ResourceQuota
	change Change
	world  World
	usage  corev1.ResourceList

	limiting   []int // the quotas that apply
	restricted []corev1.ResourceName
	scopes     []Requirement
	growth     map[int]corev1.ResourceList // of the quotas that grow; -1 stands for none that applies
}

// find sees which quotas apply, and whether the object says what they ask for.
func (a *assessment) find() error {
	for i, q := range a.quotas {
		a.scopes = append(a.scopes, a.e.Meets(Scopes(q), a.change.Object)...)
		if !a.e.Matches(q, a.change.Object, a.world) {
			continue
		}
		names := a.e.Names(Names(q.Status.Hard), a.world)
		if a.e.Missing != nil {
			if missing := a.e.Missing(names, a.change.Object); missing != "" {
				return fmt.Errorf("failed quota: %s: must specify %s", q.Name, missing)
			}
		}
		if slices.ContainsFunc(names, func(name corev1.ResourceName) bool { _, ok := q.Status.Used[name]; return !ok }) {
			return fmt.Errorf("status unknown for quota: %s, resources: %s", q.Name, join(names))
		}
		a.limiting = append(a.limiting, i)
		a.restricted = append(a.restricted, names...)
	}
	return nil
}

// measure sees by how much each quota grows. An object that comes under a quota
// by an update pays the whole there.
func (a *assessment) measure() {
	delta := Growth(a.usage, nil)
	if a.change.Old != nil {
		delta = Growth(a.usage, a.e.Usage(a.change.Old, a.world))
	}
	a.growth = map[int]corev1.ResourceList{}
	for _, i := range a.limiting {
		grown := delta
		if a.change.Old != nil && !a.e.Matches(a.quotas[i], a.change.Old, a.world) {
			grown = Growth(a.usage, nil)
		}
		if len(grown) > 0 {
			a.growth[i] = grown
		}
	}
	if len(a.limiting) == 0 && len(delta) > 0 {
		a.growth[-1] = delta
	}
}

// covered checks that what is limited has a quota.
func (a *assessment) covered(limited []Limited) error {
	var names []corev1.ResourceName
	var scopes []Requirement
	for _, l := range limited {
		scopes = append(scopes, a.e.Meets(l.MatchScopes, a.change.Object)...)
		if (schema.GroupResource{Group: l.APIGroup, Resource: l.Resource}) != a.e.Resource {
			continue
		}
		for name, x := range a.usage {
			contains := func(part string) bool { return strings.Contains(string(name), part) }
			if x.Sign() > 0 && slices.ContainsFunc(l.MatchContains, contains) && !slices.Contains(a.restricted, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		return fmt.Errorf("insufficient quota to consume: %s", join(slices.Compact(names)))
	}
	open := slices.DeleteFunc(scopes, func(r Requirement) bool {
		return slices.ContainsFunc(a.scopes, func(have Requirement) bool { return have.ScopeName == r.ScopeName })
	})
	if len(open) > 0 {
		return Uncovered{open}
	}
	return nil
}

// charged is a quota with more used. A change of a status is a fact that comes
// too late to be refused.
func charged(q *corev1.ResourceQuota, grown corev1.ResourceList, fact bool) (*corev1.ResourceQuota, error) {
	grown = Only(grown, Names(q.Status.Hard))
	used := Add(q.Status.Used, grown)
	if over := Exceeded(Only(used, Names(grown)), q.Status.Hard); len(over) > 0 && !fact {
		return nil, fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s",
			q.Name, Format(Only(grown, over)), Format(Only(q.Status.Used, over)), Format(Only(q.Status.Hard, over)))
	}
	if len(grown) == 0 {
		return q, nil
	}
	q = q.DeepCopy()
	q.Status.Used = used
	return q, nil
}

func negativeNames(list corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, name := range Names(list) {
		if x := list[name]; x.Sign() < 0 {
			out = append(out, name)
		}
	}
	return out
}

func join(names []corev1.ResourceName) string {
	names = slices.Clone(names)
	slices.Sort(names)
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = string(name)
	}
	return strings.Join(out, ",")
}
