// Package catalog keeps the objects around nodes and pods that placements
// depend on, and tells the engine of every change.
package catalog

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	"coracle.local/services/scheduler/internal/storage"
)

const byClass = "storageClass"

// Catalog reads from informers. It may be read from any goroutine.
type Catalog struct {
	pods        client.Lister[*corev1.Pod]
	services    client.Lister[*corev1.Service]
	controllers client.Lister[*corev1.ReplicationController]
	replicaSets client.Lister[*appsv1.ReplicaSet]
	stateful    client.Lister[*appsv1.StatefulSet]
	claims      client.Lister[*corev1.PersistentVolumeClaim]
	volumes     client.Lister[*corev1.PersistentVolume]
	classes     client.Lister[*storagev1.StorageClass]
	budgets     client.Lister[*policyv1.PodDisruptionBudget]

	informers map[string]cache.SharedIndexInformer
}

// New asks for the informers that it needs.
func New(f *client.Informers) *Catalog {
	c := &Catalog{informers: map[string]cache.SharedIndexInformer{}}
	// Pods that have ended hold nothing on their node any more.
	c.pods = lister[*corev1.Pod](c, f, client.WithFieldSelector("status.phase!=Succeeded,status.phase!=Failed"))
	lister[*corev1.Node](c, f)
	lister[*corev1.Namespace](c, f)
	c.services = lister[*corev1.Service](c, f, client.WithTransform(bareService))
	c.controllers = lister[*corev1.ReplicationController](c, f, client.WithTransform(bareController))
	c.replicaSets = lister[*appsv1.ReplicaSet](c, f, client.WithTransform(bareReplicaSet))
	c.stateful = lister[*appsv1.StatefulSet](c, f, client.WithTransform(bareStatefulSet))
	c.claims = lister[*corev1.PersistentVolumeClaim](c, f)
	c.volumes = lister[*corev1.PersistentVolume](c, f, client.WithIndexers(cache.Indexers{byClass: classOfVolume}))
	c.classes = lister[*storagev1.StorageClass](c, f)
	c.budgets = lister[*policyv1.PodDisruptionBudget](c, f)
	return c
}

func lister[T kinds.Object](c *Catalog, f *client.Informers, options ...client.InformerOption) client.Lister[T] {
	inf := client.Informer[T](f, options...)
	c.informers[kinds.For[T]().Kind] = inf
	return client.ListerFor[T](inf)
}

func classOfVolume(o any) ([]string, error) {
	v, ok := o.(*corev1.PersistentVolume)
	if !ok {
		return nil, fmt.Errorf("index a volume: got %T", o)
	}
	return []string{storage.ClassOfVolume(v)}, nil
}

// Pod finds a pod that has not ended.
func (c *Catalog) Pod(namespace, name string) (*corev1.Pod, bool) { return c.pods.Get(namespace, name) }

// Budgets lists all disruption budgets.
func (c *Catalog) Budgets() []*policyv1.PodDisruptionBudget { return c.budgets.List("", nil) }

// Claim finds a claim; nil if there is none.
func (c *Catalog) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	claim, _ := c.claims.Get(namespace, name)
	return claim
}

// Volume finds a volume; nil if there is none.
func (c *Catalog) Volume(name string) *corev1.PersistentVolume {
	v, _ := c.volumes.Get("", name)
	return v
}

// VolumesOf lists the volumes of a storage class.
func (c *Catalog) VolumesOf(class string) []*corev1.PersistentVolume {
	return c.volumes.ByIndex(byClass, class)
}

// Class finds a storage class; nil if there is none.
func (c *Catalog) Class(name string) *storagev1.StorageClass {
	class, _ := c.classes.Get("", name)
	return class
}

// Of workloads only the selectors are read: the rest, a pod template above all,
// would cost more memory than everything else here.

func bareService(o any) (any, error) {
	s, ok := o.(*corev1.Service)
	if !ok {
		return o, nil
	}
	return &corev1.Service{ObjectMeta: bare(&s.ObjectMeta), Spec: corev1.ServiceSpec{Selector: s.Spec.Selector}}, nil
}

func bareController(o any) (any, error) {
	r, ok := o.(*corev1.ReplicationController)
	if !ok {
		return o, nil
	}
	return &corev1.ReplicationController{
		ObjectMeta: bare(&r.ObjectMeta),
		Spec:       corev1.ReplicationControllerSpec{Selector: r.Spec.Selector},
	}, nil
}

func bareReplicaSet(o any) (any, error) {
	r, ok := o.(*appsv1.ReplicaSet)
	if !ok {
		return o, nil
	}
	return &appsv1.ReplicaSet{ObjectMeta: bare(&r.ObjectMeta), Spec: appsv1.ReplicaSetSpec{Selector: r.Spec.Selector}}, nil
}

func bareStatefulSet(o any) (any, error) {
	s, ok := o.(*appsv1.StatefulSet)
	if !ok {
		return o, nil
	}
	return &appsv1.StatefulSet{ObjectMeta: bare(&s.ObjectMeta), Spec: appsv1.StatefulSetSpec{Selector: s.Spec.Selector}}, nil
}

func bare(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
}
