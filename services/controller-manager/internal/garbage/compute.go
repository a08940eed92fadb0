package garbage

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
)

// standing is what is known of an owner.
type standing int

const (
	// solid keeps its dependents; so does what cannot be looked up.
	solid standing = iota
	// absent is gone for certain.
	absent
	// waits is being deleted, after its dependents.
	waits
	// unknown is not in a cache, which may only mean that the cache is behind.
	unknown
	// misplaced is in a namespace, and the dependent is not.
	misplaced
	// strange is of a kind that nobody knows.
	strange
)

type owner struct {
	Ref
	Reference metav1.OwnerReference
	Is        standing
}

// state is what there is to see of one object.
type state struct {
	Item       item
	Owners     []owner
	Dependents []item
	// Unsettled says that there may be more dependents than are known.
	Unsettled bool
}

// settling is how soon an object whose dependents are not all known is looked
// at again.
const settling = time.Second

func compute(s state, _ time.Time) plan.Plan {
	o := s.Item
	switch {
	case s.Unsettled && (orphaningDependents(o) || deletingDependents(o)):
		return plan.Plan{After: settling}
	case orphaningDependents(o):
		return orphan(s)
	case deletingDependents(o):
		return foreground(s)
	case o.GetDeletionTimestamp() != nil || len(s.Owners) == 0:
		return plan.Plan{}
	}
	// What a cache does not show is asked for before anything is deleted.
	var ask plan.Parallel
	var asked []int
	var p plan.Plan
	undecided := false
	for i, x := range s.Owners {
		undecided = undecided || x.Is == misplaced || x.Is == strange
		switch x.Is {
		case unknown:
			ask.Parts = append(ask.Parts, plan.Get{Kind: x.Kind, Namespace: x.Namespace, Name: x.Name})
			asked = append(asked, i)
		case misplaced:
			p.Add(plan.Event{
				About: o.Kind.New(), Type: corev1.EventTypeWarning, Reason: "OwnerRefInvalidNamespace",
				Message: fmt.Sprintf("ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
					x.Reference.APIVersion, x.Reference.Kind, o.Namespace, x.Reference.Name, x.Reference.UID, o.Namespace),
			})
			named(p.Do[len(p.Do)-1].(plan.Event).About, o)
		}
	}
	if undecided {
		return p // what one owner is cannot be told, so nothing is done about the others
	}
	if len(asked) == 0 {
		decided := decide(s)
		decided.Do = append(p.Do, decided.Do...)
		return decided
	}
	p.Add(ask)
	p.Then = func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		answers := out.Results[len(out.Results)-1].Each
		s.Owners = slices.Clone(s.Owners)
		for n, i := range asked {
			s.Owners[i].Is = stands(answers[n].Object, s.Owners[i].Reference.UID)
		}
		return decide(s)
	}
	return p
}

// named makes an empty object one that events can be filed under.
func named(to kinds.Object, o item) {
	to.SetNamespace(o.Namespace)
	to.SetName(o.Name)
	to.SetUID(o.GetUID())
	to.SetResourceVersion(o.GetResourceVersion())
}

func stands(o kinds.Object, uid types.UID) standing {
	switch {
	case o == nil || o.GetUID() != uid:
		return absent
	case deletingDependents(o):
		return waits
	}
	return solid
}

// decide is upstream's rule for an object whose owners are all known.
func decide(s state) plan.Plan {
	var lost []types.UID
	keeps, waiting := 0, 0
	for _, x := range s.Owners {
		switch x.Is {
		case absent:
			lost = append(lost, x.Reference.UID)
		case waits:
			lost = append(lost, x.Reference.UID)
			waiting++
		default:
			keeps++
		}
	}
	switch {
	case len(lost) == 0:
		return plan.Plan{}
	case keeps > 0:
		return plan.Plan{Do: []plan.Action{release(s.Item, lost...)}}
	case waiting > 0 && len(s.Dependents) > 0:
		var p plan.Plan
		if slices.ContainsFunc(s.Dependents, func(d item) bool { return deletingDependents(d) }) {
			// A dependent that waits in turn may close a circle, in which each
			// would wait for the other for ever.
			p.Add(unblock(s.Item))
		}
		p.Add(remove(s.Item, metav1.DeletePropagationForeground, len(p.Do) > 0))
		return p
	}
	policy := metav1.DeletePropagationBackground
	switch {
	case slices.Contains(s.Item.GetFinalizers(), metav1.FinalizerOrphanDependents):
		policy = metav1.DeletePropagationOrphan
	case slices.Contains(s.Item.GetFinalizers(), metav1.FinalizerDeleteDependents):
		policy = metav1.DeletePropagationForeground
	}
	return plan.Plan{Do: []plan.Action{remove(s.Item, policy, false)}}
}

// foreground lets an object go when no dependent that blocks it is left. The
// dependents delete themselves, each when it is looked at.
func foreground(s state) plan.Plan {
	uid := s.Item.GetUID()
	for _, d := range s.Dependents {
		if slices.ContainsFunc(d.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == uid && blocks(r) }) {
			return plan.Plan{}
		}
	}
	return plan.Plan{Do: []plan.Action{finish(s.Item, metav1.FinalizerDeleteDependents)}}
}

// orphan lets the dependents go, and then the object.
func orphan(s state) plan.Plan {
	var free plan.Parallel
	for _, d := range s.Dependents {
		free.Parts = append(free.Parts, release(d, s.Item.GetUID()))
	}
	var p plan.Plan
	if len(free.Parts) > 0 {
		p.Add(free)
	}
	p.Add(finish(s.Item, metav1.FinalizerOrphanDependents))
	return p
}

// remove deletes the object if it still is as it was seen: another owner may
// have come in the meantime. changed says that the plan itself changes it.
func remove(i item, policy metav1.DeletionPropagation, changed bool) plan.Action {
	d := plan.Delete{Kind: i.Kind, Namespace: i.Namespace, Name: i.Name, UID: i.GetUID(), Options: metav1.DeleteOptions{PropagationPolicy: &policy}}
	if !changed {
		d.Options.Preconditions = &metav1.Preconditions{ResourceVersion: ptr.To(i.GetResourceVersion())}
	}
	return d
}

// patch changes metadata. Kinds of the table take strategic merge patches, which
// name what changes; others take merge patches, which need whole lists and
// therefore the version these were read at.
func patch(i item, strategic, merge map[string]any) plan.Action {
	p := plan.Patch{Kind: i.Kind, Namespace: i.Namespace, Name: i.Name, Type: types.StrategicMergePatchType, MayMiss: true}
	metadata := strategic
	if kinds.ByResource(i.Kind.GroupVersionResource()) != i.Kind {
		p.Type, metadata = types.MergePatchType, merge
		metadata["resourceVersion"] = i.GetResourceVersion()
	}
	metadata["uid"] = i.GetUID()
	var err error
	if p.Data, err = json.Marshal(map[string]any{"metadata": metadata}); err != nil {
		panic(err) // strings and booleans always marshal
	}
	return p
}

func release(i item, owners ...types.UID) plan.Action {
	var gone []map[string]string
	for _, uid := range owners {
		gone = append(gone, map[string]string{"$patch": "delete", "uid": string(uid)})
	}
	left := []metav1.OwnerReference{}
	for _, r := range i.GetOwnerReferences() {
		if !slices.Contains(owners, r.UID) {
			left = append(left, r)
		}
	}
	return patch(i, map[string]any{"ownerReferences": gone}, map[string]any{"ownerReferences": left})
}

func unblock(i item) plan.Action {
	var changed, all []metav1.OwnerReference
	for _, r := range i.GetOwnerReferences() {
		if blocks(r) {
			r.BlockOwnerDeletion = ptr.To(false)
			changed = append(changed, r)
		}
		all = append(all, r)
	}
	return patch(i, map[string]any{"ownerReferences": changed}, map[string]any{"ownerReferences": all})
}

func finish(i item, finalizer string) plan.Action {
	left := slices.DeleteFunc(slices.Clone(i.GetFinalizers()), func(f string) bool { return f == finalizer })
	return patch(i, map[string]any{"$deleteFromPrimitiveList/finalizers": []string{finalizer}}, map[string]any{"finalizers": left})
}
