// Package protection keeps storage objects that are in use from going away: a
// finalizer holds each until nobody needs it.
package protection

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// guard is how objects of a kind are protected.
type guard[T kinds.Object] struct {
	name, finalizer string
	// busy tells that an object itself says that it is in use.
	busy  func(T) bool
	users []user[T]
}

// user is a kind of objects that may use what is guarded.
type user[T kinds.Object] struct {
	kind *kinds.Kind
	// names is what an object may be using.
	names func(kinds.Object) []loop.Key
	// uses tells whether an object does use something that it names; nil is yes.
	uses func(kinds.Object, T) bool
}

// Claims is persistentvolumeclaim-protection-controller.
func Claims(d loop.Deps) loop.Loop {
	return guard[*corev1.PersistentVolumeClaim]{
		name: "persistentvolumeclaim-protection-controller", finalizer: "kubernetes.io/pvc-protection",
		users: []user[*corev1.PersistentVolumeClaim]{{kind: kinds.For[*corev1.Pod](), names: claimNames, uses: mounts}},
	}.loop(d)
}

// Volumes is persistentvolume-protection-controller.
func Volumes(d loop.Deps) loop.Loop {
	return guard[*corev1.PersistentVolume]{
		name: "persistentvolume-protection-controller", finalizer: "kubernetes.io/pv-protection",
		busy: func(v *corev1.PersistentVolume) bool { return v.Status.Phase == corev1.VolumeBound },
	}.loop(d)
}

// AttributesClasses is volumeattributesclass-protection-controller.
func AttributesClasses(d loop.Deps) loop.Loop {
	return guard[*storagev1.VolumeAttributesClass]{
		name: "volumeattributesclass-protection-controller", finalizer: "kubernetes.io/vac-protection",
		users: []user[*storagev1.VolumeAttributesClass]{
			{kind: kinds.For[*corev1.PersistentVolumeClaim](), names: classesOfClaim},
			{kind: kinds.For[*corev1.PersistentVolume](), names: classOfVolume},
		},
	}.loop(d)
}

// claimNames is the claims that a pod with a node may mount. No pod that has
// no node yet gets to start with a claim that is being deleted.
func claimNames(o kinds.Object) []loop.Key {
	if p, ok := o.(*corev1.Pod); !ok || p.Spec.NodeName == "" {
		return nil
	}
	return references(o)
}

// mounts tells whether a pod uses a claim. An ephemeral volume's claim is
// needed until the kubelet is done with its pod, and only if it is that pod's.
func mounts(o kinds.Object, c *corev1.PersistentVolumeClaim) bool {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return false
	}
	shut := p.DeletionTimestamp != nil && ptr.Deref(p.DeletionGracePeriodSeconds, 1) == 0
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		if v.PersistentVolumeClaim != nil {
			return v.PersistentVolumeClaim.ClaimName == c.Name
		}
		return v.Ephemeral != nil && !shut && ephemeral.VolumeClaimName(p, &v) == c.Name && ephemeral.VolumeIsForPod(p, c) == nil
	})
}

func classesOfClaim(o kinds.Object) []loop.Key {
	c, ok := o.(*corev1.PersistentVolumeClaim)
	if !ok {
		return nil
	}
	out := class(c.Spec.VolumeAttributesClassName, class(c.Status.CurrentVolumeAttributesClassName, nil))
	if s := c.Status.ModifyVolumeStatus; s != nil {
		out = class(&s.TargetVolumeAttributesClassName, out)
	}
	return out
}

func classOfVolume(o kinds.Object) []loop.Key {
	v, ok := o.(*corev1.PersistentVolume)
	if !ok {
		return nil
	}
	return class(v.Spec.VolumeAttributesClassName, nil)
}

func class(name *string, to []loop.Key) []loop.Key {
	if n := ptr.Deref(name, ""); n != "" {
		to = append(to, loop.Key{Name: n})
	}
	return to
}

// state is something guarded, and whether the caches show somebody who uses it.
type state[T kinds.Object] struct {
	Self T
	Used bool
}

func (g guard[T]) loop(d loop.Deps) loop.Loop {
	things := cluster.Of[T](d.API)
	concerns := func(k loop.Key) (T, bool) {
		t, ok := cluster.Get[T](things, k.Namespace, k.Name)
		return t, ok && g.held(t) == (t.GetDeletionTimestamp() != nil)
	}
	spec := loop.Spec[loop.Key, state[T]]{
		Name: g.name, Compute: g.compute,
		Sources: []loop.Source[loop.Key]{{Cache: things, Keys: owner.Self}},
	}
	var caches []cluster.Cache
	for _, u := range g.users {
		c := d.API.Cache(u.kind)
		c.Index(g.name, func(v any) ([]string, error) {
			o, _ := v.(kinds.Object)
			var out []string
			for _, k := range u.names(o) {
				out = append(out, k.String())
			}
			return out, nil
		})
		caches = append(caches, c)
		spec.Sources = append(spec.Sources, loop.Source[loop.Key]{Cache: c, Keys: func(before, after kinds.Object) []loop.Key {
			return slices.DeleteFunc(append(u.names(before), u.names(after)...), func(k loop.Key) bool {
				_, ok := concerns(k)
				return !ok
			})
		}})
	}
	spec.Observe = func(k loop.Key, _ time.Time) (state[T], bool) {
		t, ok := concerns(k)
		if !ok {
			return state[T]{}, false
		}
		s := state[T]{Self: t, Used: g.busy != nil && g.busy(t)}
		for i, u := range g.users {
			s.Used = s.Used || slices.ContainsFunc(cluster.By[kinds.Object](caches[i], g.name, k.String()), u.of(t))
		}
		return s, true
	}
	return loop.New(d, spec)
}

// of tells which objects use t.
func (u user[T]) of(t T) func(kinds.Object) bool {
	return func(o kinds.Object) bool {
		return slices.Contains(u.names(o), loop.Key{Namespace: t.GetNamespace(), Name: t.GetName()}) && (u.uses == nil || u.uses(o, t))
	}
}

func (g guard[T]) held(t T) bool { return slices.Contains(t.GetFinalizers(), g.finalizer) }

func (g guard[T]) compute(s state[T], _ time.Time) plan.Plan {
	switch t := s.Self; {
	case t.GetDeletionTimestamp() == nil:
		guarded := t.DeepCopyObject().(T)
		guarded.SetFinalizers(append(guarded.GetFinalizers(), g.finalizer))
		return plan.Plan{Do: []plan.Action{plan.Update{Object: guarded, MayMiss: true}}}
	case s.Used:
		return plan.Plan{}
	default:
		// The caches may not show yet who came at the last moment.
		out := plan.Plan{Then: func(done plan.Outcome) plan.Plan { return g.release(t, done) }}
		for _, u := range g.users {
			out.Add(plan.List{Kind: u.kind, Namespace: t.GetNamespace()})
		}
		return out
	}
}

// release lets an object go unless the API server knows of a user of it.
func (g guard[T]) release(t T, done plan.Outcome) plan.Plan {
	if done.Err != nil {
		return plan.Plan{}
	}
	for i, u := range g.users {
		if slices.ContainsFunc(done.Results[i].Objects, u.of(t)) {
			return plan.Plan{} // its end will be seen
		}
	}
	return plan.Plan{Do: []plan.Action{owner.RemoveFinalizer(t, g.finalizer)}}
}
