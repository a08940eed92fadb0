package app

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	apiv1 "coracle.local/proto/coracle/api/v1"
	"coracle.local/services/kubelet/internal/admit"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/objects"
)

// podFeed hands the node's pods to the agent.
type podFeed struct {
	registration cache.ResourceEventHandlerRegistration
}

// listed waits until the agent has been told of all pods there are.
func (f podFeed) listed(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), f.registration.HasSynced) {
		return ctx.Err()
	}
	return nil
}

// feedPods makes the informer of the node's pods. change, when not nil, is
// applied to each before it is stored.
func (k *kubelet) feedPods(change func(*corev1.Pod)) error {
	informer := client.Informer[*corev1.Pod](k.informers,
		client.WithFieldSelector(fields.OneTermEqualSelector("spec.nodeName", k.cfg.NodeName).String()),
		client.WithTransform(func(o any) (any, error) {
			if pod, ok := o.(*corev1.Pod); ok {
				pod.ManagedFields = nil
				if change != nil {
					change(pod)
				}
			}
			return o, nil
		}))
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if pod, ok := o.(*corev1.Pod); ok {
				k.agent.Update(pod)
			}
		},
		UpdateFunc: func(old, o any) {
			before, _ := old.(*corev1.Pod)
			pod, ok := o.(*corev1.Pod)
			if !ok {
				return
			}
			if before != nil && before.UID != pod.UID {
				// Deleted and made again while nobody looked.
				k.agent.Remove(before)
			}
			k.agent.Update(pod)
		},
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if pod, ok := o.(*corev1.Pod); ok {
				k.agent.Remove(pod)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	k.pods = podFeed{registration}
	return nil
}

// askAgain bounds how long admission waits for a fresh Node.
const askAgain = 5 * time.Second

// admit decides about a pod by the Node as it is known; where only the labels
// speak against the pod, they may be old.
func (k *kubelet) admit(pod *corev1.Pod, others []*corev1.Pod) *lifecycle.Verdict {
	n := k.keeper.Node()
	if n == nil {
		return &lifecycle.Verdict{Reason: "InvalidNodeInfo", Message: "Kubelet cannot get node info."}
	}
	verdict := admit.Admit(pod, n, others)
	if verdict == nil || verdict.Reason != "NodeAffinity" {
		return verdict
	}
	ctx, cancel := context.WithTimeout(context.Background(), askAgain)
	defer cancel()
	fresh, err := k.nodes.Get(ctx, "", k.cfg.NodeName)
	if err != nil {
		return verdict
	}
	k.keeper.Seen(fresh)
	return admit.Admit(pod, fresh, others)
}

// feed is where objects of one kind come from.
func feed[T kinds.Object](conn *client.Conn) objects.Feed[T] {
	c := client.For[T](conn)
	return objects.Feed[T]{
		Get: c.Get,
		Watch: func(ctx context.Context, namespace, name string, each func(T, bool)) error {
			w, err := c.Watch(ctx, client.WatchOptions{
				Namespace: namespace, SendInitialEvents: true,
				FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(),
			})
			if err != nil {
				return err
			}
			for {
				e, err := w.Recv()
				if err != nil {
					return err
				}
				switch e.Type {
				case apiv1.EventType_EVENT_TYPE_ADDED, apiv1.EventType_EVENT_TYPE_MODIFIED:
					each(e.Object, true)
				case apiv1.EventType_EVENT_TYPE_DELETED:
					each(e.Object, false)
				}
			}
		},
	}
}
