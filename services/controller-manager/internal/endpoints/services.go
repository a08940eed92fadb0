// Package endpoints tells which pods are behind a Service: in EndpointSlices,
// and in Endpoints for those who still read these.
package endpoints

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	endpointutil "k8s.io/endpointslice/util"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
)

// backed is a Service and the pods that it selects.
type backed struct {
	Service *corev1.Service
	Pods    []*corev1.Pod
	// Triggered is when the oldest change happened that was not yet told of;
	// zero if nobody knows.
	Triggered time.Time
}

// services reads Services with their pods, for both controllers.
type services struct {
	services, pods cluster.Cache
	tracker        *endpointutil.TriggerTimeTracker
	// batch is --endpoint-updates-batch-period.
	batch time.Duration
}

func newServices(api cluster.API, batch time.Duration) *services {
	return &services{
		services: cluster.Of[*corev1.Service](api), pods: cluster.Of[*corev1.Pod](api),
		tracker: endpointutil.NewTriggerTimeTracker(), batch: batch,
	}
}

func (s *services) sources() []loop.Source[loop.Key] {
	return []loop.Source[loop.Key]{
		{Cache: s.services, Keys: owner.Self},
		{Cache: s.pods, Keys: s.ofPod, Delay: s.batch},
	}
}

// ofPod is the Services that a change of a pod concerns, if it does.
func (s *services) ofPod(before, after kinds.Object) []loop.Key {
	projection := endpointutil.GetPodUpdateProjectionKey(before, after)
	if projection == nil {
		return nil
	}
	names, err := endpointutil.GetServicesToUpdate(corelisters.NewServiceLister(s.services.Indexer()), projection)
	if err != nil {
		return nil // reading a store does not fail
	}
	var out []loop.Key
	for name := range names {
		namespace, name, _ := strings.Cut(name, "/")
		out = append(out, loop.Key{Namespace: namespace, Name: name})
	}
	return out
}

// observe reads a Service and its pods; found tells whether there is such a
// Service, wanted whether controllers make endpoints for it.
func (s *services) observe(k loop.Key) (b backed, found, wanted bool) {
	svc, ok := cluster.Get[*corev1.Service](s.services, k.Namespace, k.Name)
	if !ok {
		s.tracker.DeleteService(k.Namespace, k.Name)
		return backed{}, false, false
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.Selector == nil {
		return backed{Service: svc}, true, false
	}
	selector := labels.Set(svc.Spec.Selector).AsSelectorPreValidated()
	b = backed{Service: svc, Pods: cluster.List(s.pods, k.Namespace, func(p *corev1.Pod) bool { return selector.Matches(labels.Set(p.Labels)) })}
	b.Triggered = s.tracker.ComputeEndpointLastChangeTriggerTime(k.Namespace, svc, b.Pods)
	return b, true, true
}
