// Package revision keeps the history of pod templates in ControllerRevisions,
// in upstream's form, which kubectl rollout reads.
package revision

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
)

// HashLabel names the hash of a revision.
const HashLabel = "controller.kubernetes.io/hash"

// Hash is upstream's hash of a revision's data.
func Hash(data []byte, collisions *int32) string {
	h := fnv.New32()
	_, _ = h.Write(data) // a hash never fails
	if collisions != nil {
		_, _ = h.Write([]byte(strconv.FormatInt(int64(*collisions), 10)))
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// Name is the name of a revision of an owner.
func Name(owner, hash string) string { return owner[:min(len(owner), 223)] + "-" + hash }

// Data is the patch that gives an object back the pod template it has now.
func Data(o kinds.Object) ([]byte, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var object struct {
		Spec struct {
			Template map[string]any `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	object.Spec.Template["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": object.Spec.Template}})
}

// New is the revision of an object as it is now. Upstream's controllers differ
// in what they hash, and in the label that has it.
func New(o kinds.Object, templateLabels map[string]string, number int64, hash func(data []byte) string, hashLabel string) (*appsv1.ControllerRevision, error) {
	data, err := Data(o)
	if err != nil {
		return nil, fmt.Errorf("make a revision of %s/%s: %w", o.GetNamespace(), o.GetName(), err)
	}
	h := hash(data)
	labels := maps.Clone(templateLabels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[hashLabel] = h
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.GetNamespace(), Name: Name(o.GetName(), h), Labels: labels, Annotations: maps.Clone(o.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(o, kinds.ForObject(o).GroupVersionKind())},
		},
		Data: runtime.RawExtension{Raw: data}, Revision: number,
	}, nil
}

// Apply returns the object with the template of a revision.
func Apply[T kinds.Object](o T, r *appsv1.ControllerRevision) (T, error) {
	var none T
	raw, err := json.Marshal(o)
	if err != nil {
		return none, err
	}
	patched, err := strategicpatch.StrategicMergePatch(raw, r.Data.Raw, o)
	if err != nil {
		return none, fmt.Errorf("apply revision %s: %w", r.Name, err)
	}
	out := kinds.ForObject(o).New().(T)
	if err := json.Unmarshal(patched, out); err != nil {
		return none, fmt.Errorf("apply revision %s: %w", r.Name, err)
	}
	return out, nil
}

// Equal tells whether two revisions have the same data.
func Equal(a, b *appsv1.ControllerRevision) bool { return bytes.Equal(a.Data.Raw, b.Data.Raw) }

// Sort orders revisions, oldest first.
func Sort(all []*appsv1.ControllerRevision) {
	slices.SortStableFunc(all, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// Next is the number of a new revision.
func Next(sorted []*appsv1.ControllerRevision) int64 {
	if len(sorted) == 0 {
		return 1
	}
	return sorted[len(sorted)-1].Revision + 1
}

// Settle finds the revision that proposed is among sorted ones. If it is not
// there, or not the newest, it returns the plan that makes it so; the caller
// waits for that to be seen. collided is asked for the plan when another
// revision has the name.
func Settle(sorted []*appsv1.ControllerRevision, proposed *appsv1.ControllerRevision, collided func() plan.Plan) (*appsv1.ControllerRevision, *plan.Plan) {
	if n := len(sorted); n > 0 && Equal(sorted[n-1], proposed) {
		return sorted[n-1], nil
	}
	for _, r := range slices.Backward(sorted) {
		if Equal(r, proposed) { // rolled back to
			r = r.DeepCopy()
			r.Revision = proposed.Revision
			return nil, &plan.Plan{Do: []plan.Action{plan.Update{Object: r}}}
		}
	}
	return nil, &plan.Plan{
		Do: []plan.Action{plan.Create{Object: proposed, MayExist: true}},
		Then: func(out plan.Outcome) plan.Plan {
			if !out.Results[0].Existed {
				return plan.Plan{}
			}
			get := plan.Get{Kind: kinds.ForObject(proposed), Namespace: proposed.Namespace, Name: proposed.Name}
			return plan.Plan{Do: []plan.Action{get}, Then: func(out plan.Outcome) plan.Plan {
				if out.Err != nil {
					return plan.Plan{}
				}
				if have, ok := out.Results[0].Object.(*appsv1.ControllerRevision); ok && !Equal(have, proposed) {
					return collided()
				}
				return plan.Plan{}
			}}
		},
	}
}

// Truncate deletes the oldest revisions that nothing lives by, beyond a limit.
func Truncate(sorted []*appsv1.ControllerRevision, live map[string]bool, limit int) []plan.Action {
	var dead []*appsv1.ControllerRevision
	for _, r := range sorted {
		if !live[r.Name] {
			dead = append(dead, r)
		}
	}
	var out []plan.Action
	for _, r := range dead[:max(0, len(dead)-max(0, limit))] {
		out = append(out, plan.DeleteOf(r))
	}
	return out
}
