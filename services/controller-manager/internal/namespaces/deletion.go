package namespaces

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

const (
	// settling is how long a deletion waits before it begins, so that what was
	// admitted just before it is stored. Upstream waits 5 s.
	settling = 500 * time.Millisecond
	// finalizerWait is upstream's estimate of how long finalizers take.
	finalizerWait = 15 * time.Second
	// longest is the longest back-off, so that no namespace waits for minutes.
	longest = time.Minute
)

// Deletion is namespace-controller.
func Deletion(d loop.Deps) loop.Loop {
	spaces := cluster.Of[*corev1.Namespace](d.API)
	podCache := d.API.Metadata(kinds.For[*corev1.Pod]())
	ending := func(name string) bool {
		ns, ok := cluster.Get[*corev1.Namespace](spaces, "", name)
		return ok && ns.DeletionTimestamp != nil
	}
	return loop.New(d, loop.Spec[loop.Key, *corev1.Namespace]{
		Name: "namespace-controller", Workers: 10, First: 5 * time.Millisecond, Longest: longest,
		Reads: d.API.Extensions().Reads(),
		Sources: []loop.Source[loop.Key]{
			{Cache: spaces, Delay: settling, Keys: func(before, after kinds.Object) []loop.Key {
				if after == nil || after.GetDeletionTimestamp() == nil {
					return nil
				}
				return owner.Self(before, after)
			}},
			// The end of a pod is what a deletion waits for longest.
			{Cache: podCache, Delay: settling, Keys: func(before, after kinds.Object) []loop.Key {
				if after != nil || !ending(before.GetNamespace()) {
					return nil
				}
				return []loop.Key{{Name: before.GetNamespace()}}
			}},
		},
		Observe: func(k loop.Key, _ time.Time) (*corev1.Namespace, bool) {
			ns, ok := cluster.Get[*corev1.Namespace](spaces, "", k.Name)
			return ns, ok && ns.DeletionTimestamp != nil
		},
		Compute: func(ns *corev1.Namespace, now time.Time) plan.Plan {
			get := plan.Get{Kind: kinds.ForObject(ns), Name: ns.Name}
			return plan.Plan{Do: []plan.Action{get}, Then: func(out plan.Outcome) plan.Plan { return begin(out, ns, now) }}
		},
	})
}

// deletion is one pass over a namespace's content. Its methods follow one
// another as the stages of a plan.
type deletion struct {
	ns     *corev1.Namespace // newest
	now    time.Time
	totals totals
	// pending is the kinds that had something in them.
	pending []*kinds.Kind
	grace   time.Duration
	failed  []error
	// beyond is the kinds that are not in the table, unknown why there may be
	// more of them.
	beyond  []*kinds.Kind
	unknown error
}

// content is the kinds whose objects live in namespaces, pods left out.
func content(beyond []*kinds.Kind) []*kinds.Kind {
	var out []*kinds.Kind
	for _, k := range beyond {
		if k.Namespaced && k.Has("delete") && k.Has("list") {
			out = append(out, k)
		}
	}
	for _, k := range kinds.All() {
		if k.Namespaced && k.Stored() && k.StoredAs == nil && k.Has("delete") && k != kinds.For[*corev1.Pod]() {
			out = append(out, k)
		}
	}
	return out
}

func begin(out plan.Outcome, cached *corev1.Namespace, now time.Time) plan.Plan {
	if out.Err != nil || out.Results[0].Object == nil {
		return plan.Plan{}
	}
	ns := out.Results[0].Object.(*corev1.Namespace)
	if ns.UID != cached.UID || ns.DeletionTimestamp == nil || len(ns.Spec.Finalizers) == 0 {
		return plan.Plan{}
	}
	d := &deletion{ns: ns, now: now}
	if ns.Status.Phase == corev1.NamespaceTerminating {
		return d.discover()
	}
	ns = ns.DeepCopy()
	ns.Status.Phase = corev1.NamespaceTerminating
	return plan.Plan{Do: []plan.Action{plan.UpdateStatus(ns)}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		d.ns = out.Results[0].Object.(*corev1.Namespace)
		return d.discover()
	}}
}

func (d *deletion) discover() plan.Plan {
	return plan.Plan{Do: []plan.Action{plan.Discover{}}, Then: func(out plan.Outcome) plan.Plan {
		d.beyond, d.unknown = out.Results[0].Kinds, out.Results[0].Partial
		return d.pods(out)
	}}
}

// list, remove and relist are the three stages of one set of kinds. after is
// what comes when they are through.
func (d *deletion) sweep(of []*kinds.Kind, after func() plan.Plan) plan.Plan {
	return d.list(of, func(found []*kinds.Kind) plan.Plan {
		if len(found) == 0 {
			return after()
		}
		var remove plan.Parallel
		for _, k := range found {
			// Background, so that the garbage collector gives nothing back.
			remove.Parts = append(remove.Parts, plan.DeleteAll{
				Kind: k, Namespace: d.ns.Name,
				Options: metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)},
			})
		}
		return plan.Plan{Do: []plan.Action{remove}, Then: func(out plan.Outcome) plan.Plan {
			d.note(out)
			return d.list(found, func(left []*kinds.Kind) plan.Plan {
				d.pending = append(d.pending, left...)
				return after()
			})
		}}
	})
}

// list finds the kinds that have something in the namespace, and counts it.
func (d *deletion) list(of []*kinds.Kind, then func([]*kinds.Kind) plan.Plan) plan.Plan {
	var list plan.Parallel
	for _, k := range of {
		list.Parts = append(list.Parts, plan.List{Kind: k, Namespace: d.ns.Name})
	}
	return plan.Plan{Do: []plan.Action{list}, Then: func(out plan.Outcome) plan.Plan {
		d.note(out)
		var found []*kinds.Kind
		for i, r := range out.Results[0].Each {
			d.totals.set(of[i], r.Objects)
			if len(r.Objects) > 0 {
				found = append(found, of[i])
			}
			d.estimate(r.Objects)
		}
		return then(found)
	}}
}

func (d *deletion) note(out plan.Outcome) {
	for _, r := range out.Results {
		for _, part := range r.Each {
			if part.Err != nil {
				d.failed = append(d.failed, plan.Cause(part.Err))
			}
		}
	}
}

// estimate is how long the pods may take to end.
func (d *deletion) estimate(objects []kinds.Object) {
	for _, o := range objects {
		p, ok := o.(*corev1.Pod)
		if !ok || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		grace := time.Duration(ptr.Deref(p.Spec.TerminationGracePeriodSeconds, 0)) * time.Second
		if grace > d.now.Sub(d.ns.DeletionTimestamp.Time) {
			d.grace = max(d.grace, grace)
		}
	}
}

// pods go first: they may need what else is in the namespace to end well.
func (d *deletion) pods(plan.Outcome) plan.Plan {
	return d.sweep([]*kinds.Kind{kinds.For[*corev1.Pod]()}, func() plan.Plan {
		if len(d.pending) > 0 {
			return d.report()
		}
		return d.sweep(content(d.beyond), d.report)
	})
}

// report writes what is left, and ends the namespace if nothing is.
func (d *deletion) report() plan.Plan {
	ns := d.ns.DeepCopy()
	setConditions(&ns.Status, d.totals, d.unknown, d.failed, d.now)
	done := len(d.pending) == 0 && len(d.failed) == 0 && d.unknown == nil
	var p plan.Plan
	last := done && slices.Equal(ns.Spec.Finalizers, []corev1.FinalizerName{corev1.FinalizerKubernetes})
	if !last && !apiequality.Semantic.DeepEqual(ns.Status, d.ns.Status) {
		p.Add(plan.UpdateStatus(ns))
	}
	switch {
	case done:
		p.Then = func(out plan.Outcome) plan.Plan { return d.finalize(out) }
	case d.grace > 0:
		p.Again(d.grace/2 + time.Second)
	case len(d.totals.finalizers) > 0:
		p.Again(finalizerWait/2 + time.Second)
	case d.unknown != nil:
		p.Err = d.unknown
	case len(d.failed) == 0:
		p.Err = fmt.Errorf("unexpected items still remain in namespace: %s for gvr: %v", ns.Name, d.pending[0].GroupVersionResource())
	}
	return p
}

func (d *deletion) finalize(out plan.Outcome) plan.Plan {
	ns := d.ns.DeepCopy()
	for _, r := range out.Results {
		if r.Object != nil {
			ns = r.Object.(*corev1.Namespace).DeepCopy()
		}
	}
	ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	return plan.Plan{Do: []plan.Action{plan.Update{Object: ns, Subresource: "finalize", MayMiss: true}}}
}
