// Package quotas recounts what the objects of a namespace take of its
// ResourceQuotas: the API server only ever adds to them.
package quotas

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/libs/quota"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

// Name is the controller's.
const Name = "resourcequota-controller"

// Resync is how often everything is recounted even if nothing was seen to
// change.
const Resync = 5 * time.Minute

// counted is a kind of which quotas take account.
type counted struct {
	evaluator *quota.Evaluator
	cache     cluster.Cache
}

// controller is what the loop's functions share.
type controller struct {
	quotas, classes cluster.Cache
	kinds           []counted
	byResource      map[schema.GroupResource]counted
	beyond          cluster.Extensions
	recent          *recent
}

// measured are the kinds that are more than counted, whose objects are needed
// whole.
var measured = map[schema.GroupResource]bool{
	{Resource: "pods"}: true, {Resource: "services"}: true, {Resource: "persistentvolumeclaims"}: true,
	{Group: resourcev1.GroupName, Resource: "resourceclaims"}: true,
}

// New is resourcequota-controller. A resync of 0 is Resync.
func New(d loop.Deps, resync time.Duration) loop.Loop {
	if resync == 0 {
		resync = Resync
	}
	c := &controller{
		quotas: cluster.Of[*corev1.ResourceQuota](d.API), classes: cluster.Of[*resourcev1.DeviceClass](d.API),
		byResource: map[schema.GroupResource]counted{}, beyond: d.API.Extensions(), recent: newRecent(d.Clock),
	}
	spec := loop.Spec[loop.Key, state]{
		Name: Name, Reads: append([]cluster.Cache{c.classes}, c.beyond.Reads()...), Observe: c.observe,
		Listen:  func(add func(loop.Key)) { c.listen(add, d.Clock.Now) },
		Compute: func(s state, now time.Time) plan.Plan { return compute(s, now, resync) },
		Sources: []loop.Source[loop.Key]{{Cache: c.quotas, Keys: c.changed}},
	}
	for _, k := range kinds.All() {
		e := quota.For(k.GroupResource())
		if e == nil || !k.Namespaced || !k.Stored() || k.StoredAs != nil || !k.Has("create") || !k.Has("delete") || !k.Has("watch") {
			continue
		}
		one := counted{evaluator: e}
		if measured[e.Resource] {
			one.cache = d.API.Cache(k)
		} else {
			one.cache = d.API.Metadata(k)
		}
		c.kinds = append(c.kinds, one)
		c.byResource[e.Resource] = one
		spec.Sources = append(spec.Sources, loop.Source[loop.Key]{Cache: one.cache, Keys: func(before, after kinds.Object) []loop.Key {
			return c.released(one, before, after, d.Clock.Now())
		}})
	}
	return loop.New(d, spec)
}

// listen wakes for the kinds that are not in the table, which come and go.
func (c *controller) listen(add func(loop.Key), now func() time.Time) {
	c.beyond.OnChange(func(k *kinds.Kind, before, after kinds.Object) {
		for _, key := range c.released(counted{evaluator: quota.For(k.GroupResource())}, before, after, now()) {
			add(key)
		}
	})
	c.beyond.OnKind(func(k *kinds.Kind) {
		name := quota.CountName(k.GroupResource())
		for _, q := range cluster.List[*corev1.ResourceQuota](c.quotas, "") {
			if _, ok := q.Spec.Hard[name]; ok {
				add(loop.Key{Namespace: q.Namespace, Name: q.Name})
			}
		}
	})
}

// changed wakes for quotas that are new or were changed by people. Changes of
// their status are the API server's and this controller's own.
func (c *controller) changed(before, after kinds.Object) []loop.Key {
	is, ok := after.(*corev1.ResourceQuota)
	if !ok {
		c.recent.forget(loop.Key{Namespace: before.GetNamespace(), Name: before.GetName()})
		return nil
	}
	key := loop.Key{Namespace: is.Namespace, Name: is.Name}
	was, ok := before.(*corev1.ResourceQuota)
	if !ok {
		return []loop.Key{key}
	}
	if grew(was.Status.Used, is.Status.Used) {
		c.recent.charged(key)
	}
	if apiequality.Semantic.DeepEqual(was.Spec, is.Spec) && apiequality.Semantic.DeepEqual(is.Status.Hard, is.Spec.Hard) {
		return nil
	}
	return []loop.Key{key}
}

// grew tells whether more is used than was; what was not counted before does
// not matter.
func grew(was, is corev1.ResourceList) bool {
	for name, x := range is {
		if y, ok := was[name]; ok && x.Cmp(y) > 0 {
			return true
		}
	}
	return false
}

// released wakes the quotas of a namespace that an object may take less of.
func (c *controller) released(of counted, before, after kinds.Object, now time.Time) []loop.Key {
	if before == nil || before.GetNamespace() == "" || of.evaluator == nil {
		return nil
	}
	quotas := cluster.List[*corev1.ResourceQuota](c.quotas, before.GetNamespace())
	if len(quotas) == 0 || after != nil && !lessens(before, after, now) {
		return nil
	}
	var out []loop.Key
	for _, q := range quotas {
		if len(of.evaluator.Names(quota.Names(q.Status.Hard), c.world(now))) > 0 {
			out = append(out, loop.Key{Namespace: q.Namespace, Name: q.Name})
		}
	}
	return out
}

// lessens tells whether an update may give something back, or move the object
// to other quotas.
func lessens(before, after kinds.Object, now time.Time) bool {
	switch is := after.(type) {
	case *corev1.Pod:
		was, ok := before.(*corev1.Pod)
		return ok && (quota.Running(was, now) && !quota.Running(is, now) ||
			quota.Terminating(was) != quota.Terminating(is) || resized(was, is))
	case *corev1.Service:
		was, ok := before.(*corev1.Service)
		return ok && was.Spec.Type != is.Spec.Type
	case *corev1.PersistentVolumeClaim:
		was, ok := before.(*corev1.PersistentVolumeClaim)
		return ok && quota.ClaimChanged(was, is)
	}
	return false
}

// resized tells whether containers run with other resources than before.
func resized(was, is *corev1.Pod) bool {
	before := map[string]*corev1.ResourceRequirements{}
	for _, list := range [][]corev1.ContainerStatus{was.Status.InitContainerStatuses, was.Status.ContainerStatuses} {
		for i := range list {
			before[list[i].Name] = list[i].Resources
		}
	}
	for _, list := range [][]corev1.ContainerStatus{is.Status.InitContainerStatuses, is.Status.ContainerStatuses} {
		for i := range list {
			if r, ok := before[list[i].Name]; ok && !apiequality.Semantic.DeepEqual(r, list[i].Resources) {
				return true
			}
		}
	}
	return false
}

func (c *controller) world(now time.Time) quota.World {
	return quota.World{
		Now:           now,
		DeviceClasses: func() []*resourcev1.DeviceClass { return cluster.List[*resourcev1.DeviceClass](c.classes, "") },
		Pod: func(namespace, name string) *corev1.Pod {
			p, _ := cluster.Get[*corev1.Pod](c.byResource[schema.GroupResource{Resource: "pods"}].cache, namespace, name)
			return p
		},
		ResourceClaims: func(namespace string) []*resourcev1.ResourceClaim {
			claims := c.byResource[schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"}].cache
			return cluster.List[*resourcev1.ResourceClaim](claims, namespace)
		},
	}
}

// observe gathers what the quota's resources are counted of.
func (c *controller) observe(k loop.Key, now time.Time) (state, bool) {
	q, ok := cluster.Get[*corev1.ResourceQuota](c.quotas, k.Namespace, k.Name)
	if !ok {
		return state{}, false
	}
	s := state{Quota: q, World: c.world(now), Quiet: c.recent.quiet(k, now)}
	names := quota.Names(q.Spec.Hard)
	for _, one := range c.kinds {
		if len(one.evaluator.Names(names, s.World)) == 0 {
			continue
		}
		objects := cluster.List[quota.Object](one.cache, k.Namespace)
		s.Counts = append(s.Counts, count{one.evaluator, objects})
	}
	for _, cache := range c.beyond.Caches() {
		e := quota.For(cache.Kind().GroupResource())
		if cache.Kind().Namespaced && e != nil && len(e.Names(names, s.World)) > 0 {
			s.Counts = append(s.Counts, count{e, cluster.List[quota.Object](cache, k.Namespace)})
		}
	}
	return s, true
}
