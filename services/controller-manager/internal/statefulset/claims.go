package statefulset

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
)

func claimName(s *appsv1.StatefulSet, t *corev1.PersistentVolumeClaim, n int) string {
	return t.Name + "-" + s.Name + "-" + strconv.Itoa(n)
}

// missingClaims creates the claims of a pod that are not there. One that is
// being deleted keeps the pod from being made.
func (u *update) missingClaims(p *corev1.Pod) []plan.Action {
	var out []plan.Action
	for i := range u.Self.Spec.VolumeClaimTemplates {
		t := &u.Self.Spec.VolumeClaimTemplates[i]
		name := claimName(u.Self, t, ordinal(p))
		if have, ok := u.Claims[name]; ok {
			if have.DeletionTimestamp != nil {
				u.err = errors.Join(u.err, fmt.Errorf("pvc %s is being deleted", name))
			}
			continue
		}
		c := t.DeepCopy()
		c.Name, c.Namespace, c.Status = name, u.Self.Namespace, corev1.PersistentVolumeClaimStatus{}
		c.Labels = maps.Clone(c.Labels)
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		maps.Copy(c.Labels, u.Self.Spec.Selector.MatchLabels)
		out = append(out, plan.Create{Object: c, MayExist: true, Say: plan.Say{
			About:  u.Self,
			Done:   plan.Note{Reason: "SuccessfulCreate", Format: fmt.Sprintf("Create Claim %%s Pod %s in StatefulSet %s success", p.Name, u.Self.Name)},
			Failed: plan.Note{Reason: "FailedCreate", Format: fmt.Sprintf("Create Claim %s for Pod %s in StatefulSet %s failed error: %%v", name, p.Name, u.Self.Name)},
		}})
	}
	return out
}

// policy is what becomes of claims; to retain them is the default.
func policy(s *appsv1.StatefulSet) (scaledDeletes, deletedDeletes bool) {
	p := ptr.Deref(s.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	return p.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType, p.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// names tells whether a reference is to an object by kind and name.
func names(r metav1.OwnerReference, o kinds.Object) bool {
	k := kinds.ForObject(o)
	return r.APIVersion == k.APIVersion() && r.Kind == k.Kind && r.Name == o.GetName()
}

// stale tells whether a claim belongs to an object of the same name that is
// gone: the garbage collector will take the claim, too.
func stale(c *corev1.PersistentVolumeClaim, o kinds.Object) bool {
	return slices.ContainsFunc(c.OwnerReferences, func(r metav1.OwnerReference) bool { return names(r, o) && r.UID != o.GetUID() })
}

// claimIsStale tells whether a pod has to wait for a claim of its name to go.
func (u *update) claimIsStale(p *corev1.Pod) bool {
	if scaled, _ := policy(u.Self); !scaled {
		return false
	}
	for i := range u.Self.Spec.VolumeClaimTemplates {
		if c, ok := u.Claims[claimName(u.Self, &u.Self.Spec.VolumeClaimTemplates[i], ordinal(p))]; ok && stale(c, p) {
			return true
		}
	}
	return false
}

// fixClaims gives the claims of a pod the owners that the retention policy
// asks for: the set if its deletion takes them, the pod if scaling does.
func (u *update) fixClaims(p *corev1.Pod) []plan.Action {
	var out []plan.Action
	for i := range u.Self.Spec.VolumeClaimTemplates {
		c, ok := u.Claims[claimName(u.Self, &u.Self.Spec.VolumeClaimTemplates[i], ordinal(p))]
		if !ok || stale(c, u.Self) || stale(c, p) {
			continue
		}
		scaled, deleted := policy(u.Self)
		foreign := (scaled || deleted) && slices.ContainsFunc(c.OwnerReferences, func(r metav1.OwnerReference) bool {
			return !names(r, u.Self) && !names(r, p) && ptr.Deref(r.Controller, false)
		})
		want := slices.DeleteFunc(slices.Clone(c.OwnerReferences), func(r metav1.OwnerReference) bool { return names(r, u.Self) || names(r, p) })
		switch down := !inRange(p, u.Self); {
		case foreign:
			if len(want) < len(c.OwnerReferences) {
				out = append(out, plan.Event{
					About: u.Self, Type: corev1.EventTypeWarning, Reason: "ConflictingController",
					Message: fmt.Sprintf("PersistentVolumeClaim %s has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim", c.Name),
				})
			}
		case scaled && down:
			want = append(want, *metav1.NewControllerRef(p, kinds.ForObject(p).GroupVersionKind()))
		case deleted:
			want = append(want, *metav1.NewControllerRef(u.Self, kinds.ForObject(u.Self).GroupVersionKind()))
		}
		if !apiequality.Semantic.DeepEqual(want, c.OwnerReferences) {
			c = c.DeepCopy()
			c.OwnerReferences = want
			out = append(out, plan.Update{Object: c})
		}
	}
	return out
}
