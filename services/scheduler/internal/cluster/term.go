package cluster

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Term is one pod affinity term: pods of some namespaces with some labels, in
// the same domain of a topology key.
type Term struct {
	Key        string
	Selector   labels.Selector
	Namespaces []string
	// NamespaceSelector adds namespaces by their labels; Nothing when the term
	// has none.
	NamespaceSelector labels.Selector
}

// WeightedTerm is a preference.
type WeightedTerm struct {
	Term
	Weight int64
}

// Matches tells whether the term speaks of pod, whose namespace has the given
// labels.
func (t *Term) Matches(pod *corev1.Pod, namespace labels.Set) bool {
	if !slices.Contains(t.Namespaces, pod.Namespace) && !t.NamespaceSelector.Matches(namespace) {
		return false
	}
	return t.Selector.Matches(labels.Set(pod.Labels))
}

// MatchesAll tells whether a pod is spoken of by every term, which needs at
// least one.
func MatchesAll(terms []Term, pod *corev1.Pod, namespace labels.Set) bool {
	for i := range terms {
		if !terms[i].Matches(pod, namespace) {
			return false
		}
	}
	return len(terms) > 0
}

func termsOf(owner *corev1.Pod, list []corev1.PodAffinityTerm) ([]Term, error) {
	if len(list) == 0 {
		return nil, nil
	}
	terms := make([]Term, 0, len(list))
	for i := range list {
		t, err := termOf(owner, &list[i])
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	return terms, nil
}

func weightedTermsOf(owner *corev1.Pod, list []corev1.WeightedPodAffinityTerm) ([]WeightedTerm, error) {
	if len(list) == 0 {
		return nil, nil
	}
	terms := make([]WeightedTerm, 0, len(list))
	for i := range list {
		t, err := termOf(owner, &list[i].PodAffinityTerm)
		if err != nil {
			return nil, err
		}
		terms = append(terms, WeightedTerm{Term: t, Weight: int64(list[i].Weight)})
	}
	return terms, nil
}

// termOf reads a term. The API server has merged matchLabelKeys into the
// selector when the pod was created.
func termOf(owner *corev1.Pod, term *corev1.PodAffinityTerm) (Term, error) {
	selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
	if err != nil {
		return Term{}, err
	}
	namespaces, err := metav1.LabelSelectorAsSelector(term.NamespaceSelector)
	if err != nil {
		return Term{}, err
	}
	t := Term{Key: term.TopologyKey, Selector: selector, Namespaces: term.Namespaces, NamespaceSelector: namespaces}
	if len(term.Namespaces) == 0 && term.NamespaceSelector == nil {
		t.Namespaces = []string{owner.Namespace}
	}
	return t, nil
}

// selectorKeys calls f with every label key that a selector looks at.
func selectorKeys(s labels.Selector, f func(string)) {
	requirements, ok := s.Requirements()
	if !ok {
		return
	}
	for i := range requirements {
		f(requirements[i].Key())
	}
}

// EachKey calls f with every pod label key that the pod's affinity looks at in
// other pods.
func (p *Pod) EachKey(f func(string)) {
	for _, terms := range [][]Term{p.RequiredAffinity, p.RequiredAntiAffinity} {
		for i := range terms {
			selectorKeys(terms[i].Selector, f)
		}
	}
	for _, terms := range [][]WeightedTerm{p.PreferredAffinity, p.PreferredAntiAffinity} {
		for i := range terms {
			selectorKeys(terms[i].Selector, f)
		}
	}
}
