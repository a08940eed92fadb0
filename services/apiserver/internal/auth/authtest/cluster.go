// Package authtest is a small cluster in memory that behaves as the cache does
// towards authorization and admission; for tests.
package authtest

import (
	"sort"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

type key struct {
	kind            *kinds.Kind
	namespace, name string
}

// Cluster holds objects and tells observers of their changes. It is an
// auth.Reader.
type Cluster struct {
	mu        sync.Mutex
	objects   map[key]kinds.Object
	observers []auth.Observer
}

// New returns a cluster of the objects.
func New(objects ...kinds.Object) *Cluster {
	c := &Cluster{objects: map[key]kinds.Object{}}
	c.Put(objects...)
	return c
}

// Watch makes the observers follow the cluster, from its present state on.
func (c *Cluster) Watch(observers ...auth.Observer) *Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observers = append(c.observers, observers...)
	for _, o := range observers {
		for k, object := range c.objects {
			tell(o, k, object)
		}
	}
	return c
}

// Put creates or replaces objects.
func (c *Cluster) Put(objects ...kinds.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, object := range objects {
		k := key{kinds.ForObject(object), object.GetNamespace(), object.GetName()}
		c.objects[k] = object
		for _, o := range c.observers {
			tell(o, k, object)
		}
	}
}

// Remove deletes an object.
func (c *Cluster) Remove(object kinds.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := key{kinds.ForObject(object), object.GetNamespace(), object.GetName()}
	delete(c.objects, k)
	for _, o := range c.observers {
		tell(o, k, nil)
	}
}

func tell(o auth.Observer, k key, object kinds.Object) {
	for _, watched := range o.Watches() {
		if watched != k.kind {
			continue
		}
		change := auth.Change{Kind: k.kind, Namespace: k.namespace, Name: k.name}
		if object != nil {
			change.Object = func() kinds.Object { return object.DeepCopyObject().(kinds.Object) }
			change.Fields = map[string]string{}
			if pod, ok := object.(*corev1.Pod); ok {
				change.Fields["spec.nodeName"] = pod.Spec.NodeName
			}
		}
		o.Observe(change)
	}
}

// Get returns a copy of one object.
func (c *Cluster) Get(k *kinds.Kind, namespace, name string) (kinds.Object, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	object, ok := c.objects[key{k, namespace, name}]
	if !ok {
		return nil, false
	}
	return object.DeepCopyObject().(kinds.Object), true
}

// List returns copies of the objects of a kind, by namespace and name.
func (c *Cluster) List(k *kinds.Kind, namespace string) []kinds.Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []kinds.Object
	for at, object := range c.objects {
		if at.kind == k && (namespace == "" || at.namespace == namespace) {
			out = append(out, object.DeepCopyObject().(kinds.Object))
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].GetNamespace() != out[j].GetNamespace() {
			return out[i].GetNamespace() < out[j].GetNamespace()
		}
		return out[i].GetName() < out[j].GetName()
	})
	return out
}

// User returns a signed-in user.
func User(name string, groups ...string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
}

// Node returns a kubelet.
func Node(name string) user.Info { return User("system:node:"+name, user.NodesGroup) }

// Admin returns a member of system:masters.
func Admin() user.Info { return User("admin", user.SystemPrivilegedGroup) }
