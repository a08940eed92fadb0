package namespaces

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
)

// totals is what is left in a namespace.
type totals struct {
	remaining  map[*kinds.Kind]int
	finalizers map[string]int
	of         map[*kinds.Kind]map[string]int
}

// set replaces what is known of a kind.
func (t *totals) set(k *kinds.Kind, objects []kinds.Object) {
	if t.remaining == nil {
		t.remaining, t.of = map[*kinds.Kind]int{}, map[*kinds.Kind]map[string]int{}
	}
	t.remaining[k], t.of[k] = len(objects), map[string]int{}
	for _, o := range objects {
		for _, f := range o.GetFinalizers() {
			t.of[k][f]++
		}
	}
	t.finalizers = map[string]int{}
	for _, m := range t.of {
		for f, n := range m {
			t.finalizers[f] += n
		}
	}
}

func (t *totals) resources() string {
	var out []string
	for k, n := range t.remaining {
		if n > 0 {
			out = append(out, fmt.Sprintf("%s.%s has %d resource instances", k.Plural, k.Group, n))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (t *totals) byFinalizer() string {
	var out []string
	for f, n := range t.finalizers {
		out = append(out, fmt.Sprintf("%s in %d resource instances", f, n))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func discoveryText(err error) string {
	if groups := (*cluster.DiscoveryError)(nil); errors.As(err, &groups) {
		return fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(groups.Groups), groups)
	}
	return fmt.Sprint(err)
}

// setConditions tells how a deletion stands, in upstream's words.
func setConditions(s *corev1.NamespaceStatus, t totals, unknown error, failed []error, now time.Time) {
	set := func(kind corev1.NamespaceConditionType, bad bool, reason, message, okReason, okMessage string) {
		c := corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionFalse, Reason: okReason, Message: okMessage, LastTransitionTime: metav1.NewTime(now)}
		if bad {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, reason, message
		}
		for i := range s.Conditions {
			if old := &s.Conditions[i]; old.Type == kind {
				if old.Status == c.Status {
					c.LastTransitionTime = old.LastTransitionTime
				}
				*old = c
				return
			}
		}
		s.Conditions = append(s.Conditions, c)
	}
	var errs []string
	for _, err := range failed {
		errs = append(errs, err.Error())
	}
	slices.Sort(errs)
	set(corev1.NamespaceDeletionDiscoveryFailure, unknown != nil, "DiscoveryFailed", discoveryText(unknown), "ResourcesDiscovered", "All resources successfully discovered")
	set(corev1.NamespaceDeletionGVParsingFailure, false, "", "", "ParsedGroupVersions", "All legacy kube types successfully parsed")
	set(corev1.NamespaceDeletionContentFailure, len(errs) > 0, "ContentDeletionFailed",
		fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(errs), strings.Join(errs, ", ")),
		"ContentDeleted", "All content successfully deleted, may be waiting on finalization")
	left, finalizers := t.resources(), t.byFinalizer()
	set(corev1.NamespaceContentRemaining, left != "", "SomeResourcesRemain", "Some resources are remaining: "+left,
		"ContentRemoved", "All content successfully removed")
	set(corev1.NamespaceFinalizersRemaining, finalizers != "", "SomeFinalizersRemain",
		"Some content in the namespace has finalizers remaining: "+finalizers,
		"ContentHasNoFinalizers", "All content-preserving finalizers finished")
}
