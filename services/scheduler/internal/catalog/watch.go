package catalog

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	"coracle.local/services/scheduler/internal/cluster"
)

// Watcher is told of changes; the engine is one. Its methods return at once.
type Watcher interface {
	PodSeen(*corev1.Pod)
	PodGone(*corev1.Pod)
	NodeSeen(*corev1.Node)
	NodeGone(*corev1.Node)
	NamespaceSeen(*corev1.Namespace)
	NamespaceGone(*corev1.Namespace)
	StorageSeen(kind cluster.EventKind, namespace, name string)
}

// Watch tells w of everything that is there and of everything that changes.
// The function returned waits until w has been told of what was there at first.
func (c *Catalog) Watch(w Watcher) (wait func(context.Context) error, err error) {
	var synced []cache.DoneChecker
	add := func(kind string, h cache.ResourceEventHandler) {
		if err != nil {
			return
		}
		var r cache.ResourceEventHandlerRegistration
		if r, err = c.informers[kind].AddEventHandler(h); err == nil {
			synced = append(synced, r.HasSyncedChecker())
		}
	}
	add("Pod", handler(w.PodSeen, w.PodGone))
	add("Node", handler(w.NodeSeen, w.NodeGone))
	add("Namespace", handler(w.NamespaceSeen, w.NamespaceGone))
	add("PersistentVolumeClaim", handler(func(o *corev1.PersistentVolumeClaim) {
		w.StorageSeen(cluster.ClaimChanged, o.Namespace, o.Name)
	}, nil))
	add("PersistentVolume", handler(func(o *corev1.PersistentVolume) {
		w.StorageSeen(cluster.VolumeChanged, "", o.Name)
	}, nil))
	add("StorageClass", handler(func(o *storagev1.StorageClass) {
		w.StorageSeen(cluster.ClassChanged, "", o.Name)
	}, nil))
	if err != nil {
		return nil, fmt.Errorf("watch the cluster: %w", err)
	}
	for _, inf := range c.informers {
		synced = append(synced, inf.HasSyncedChecker())
	}
	return func(ctx context.Context) error { return client.WaitFor(ctx, synced...) }, nil
}

// handler adapts functions of one type. A deletion that was missed while the
// watch was interrupted brings the last version that was seen.
func handler[T kinds.Object](seen, gone func(T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { seen(o.(T)) },
		UpdateFunc: func(_, o any) { seen(o.(T)) },
		DeleteFunc: func(o any) {
			if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = unknown.Obj
			}
			if t, ok := o.(T); ok && gone != nil {
				gone(t)
			}
		},
	}
}
