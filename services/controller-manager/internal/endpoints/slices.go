package endpoints

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/endpointslice"
	"k8s.io/endpointslice/topologycache"
	endpointutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

// managedBy is the name under which this controller's slices go; it is
// upstream's, so that each takes over what the other made.
const managedBy = "endpointslice-controller.k8s.io"

// sliceDelay gathers changes of slices, which are mostly our own.
const sliceDelay = time.Second

// slicesState is what there is to see of one Service.
type slicesState struct {
	backed
	Slices []*discoveryv1.EndpointSlice
	Nodes  corelisters.NodeLister
	Zones  *topologycache.TopologyCache
}

// byService is the index of slices by the Service they are for.
const byService = "service"

func serviceIndex(v any) ([]string, error) {
	s, ok := v.(*discoveryv1.EndpointSlice)
	if !ok || s.Labels[discoveryv1.LabelServiceName] == "" {
		return nil, nil
	}
	return []string{s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]}, nil
}

// Slices is endpointslice-controller. maxPerSlice is
// --max-endpoints-per-slice.
func Slices(d loop.Deps, batch time.Duration, maxPerSlice int32) loop.Loop {
	services := newServices(d.API, batch)
	slices := cluster.Of[*discoveryv1.EndpointSlice](d.API)
	slices.Index(byService, serviceIndex)
	nodes := cluster.Of[*corev1.Node](d.API)
	zones := &zones{nodes: nodes, cache: topologycache.NewTopologyCache()}
	sources := append(services.sources(),
		loop.Source[loop.Key]{Cache: slices, Keys: servicesOf, Delay: max(sliceDelay, batch)},
		loop.Source[loop.Key]{Cache: nodes, Keys: zones.changed})
	return loop.New(d, loop.Spec[loop.Key, slicesState]{
		Name: "endpointslice-controller", Component: "endpoint-slice-controller", Sources: sources, First: time.Second, Longest: 1000 * time.Second,
		Observe: func(k loop.Key, _ time.Time) (slicesState, bool) {
			b, _, wanted := services.observe(k)
			if !wanted {
				return slicesState{}, false
			}
			own := cluster.By(slices, byService, k.String(), func(s *discoveryv1.EndpointSlice) bool {
				return s.Labels[discoveryv1.LabelManagedBy] == managedBy && s.DeletionTimestamp == nil
			})
			return slicesState{b, own, corelisters.NewNodeLister(nodes.Indexer()), zones.fresh()}, true
		},
		Compute: func(s slicesState, _ time.Time) plan.Plan { return computeSlices(s, maxPerSlice) },
	})
}

// servicesOf is the Services that a slice was and is for.
func servicesOf(before, after kinds.Object) []loop.Key {
	var out []loop.Key
	for _, o := range []kinds.Object{before, after} {
		if o == nil || o.GetLabels()[discoveryv1.LabelManagedBy] != managedBy {
			continue
		}
		if name := o.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
			out = append(out, loop.Key{Namespace: o.GetNamespace(), Name: name})
		}
	}
	return out
}

// computeSlices is upstream's reconciler over a client that only notes.
func computeSlices(s slicesState, maxPerSlice int32) plan.Plan {
	r := &recording{}
	reconciler := endpointslice.NewReconciler(r, s.Nodes, maxPerSlice, endpointutil.NewEndpointSliceTracker(), s.Zones, r, managedBy,
		endpointslice.WithPreferSameTrafficDistributionEnabled(true))
	err := reconciler.Reconcile(klog.Logger{}, s.Service, s.Pods, s.Slices, s.Triggered)
	return plan.Plan{Do: r.actions, Err: err, Then: func(out plan.Outcome) plan.Plan {
		failure := err
		if failure == nil {
			failure = out.Err
		}
		if failure == nil {
			return plan.Plan{}
		}
		return plan.Plan{Do: []plan.Action{plan.Event{
			About: s.Service, Type: corev1.EventTypeWarning, Reason: "FailedToUpdateEndpointSlices",
			Message: fmt.Sprintf("Error updating Endpoint Slices for Service %s/%s: %v", s.Service.Namespace, s.Service.Name, plan.Cause(failure)),
		}}}
	}}
}

// zones keeps what topology hints are made from.
type zones struct {
	nodes cluster.Cache
	cache *topologycache.TopologyCache
	stale atomic.Bool
}

// fresh is the cache with all nodes in it.
func (z *zones) fresh() *topologycache.TopologyCache {
	if z.stale.Swap(false) {
		z.cache.SetNodes(klog.Logger{}, cluster.List[*corev1.Node](z.nodes, ""))
	}
	return z.cache
}

// changed returns the Services whose hints no longer fit the nodes. Nodes that
// appear are counted later, since at the start they all do.
func (z *zones) changed(before, after kinds.Object) []loop.Key {
	if before != nil && after != nil && zoneOf(before) == zoneOf(after) && ready(before) == ready(after) {
		return nil
	}
	z.stale.Store(true)
	if before == nil {
		return nil
	}
	var out []loop.Key
	for _, name := range z.fresh().GetOverloadedServices() {
		namespace, name, _ := strings.Cut(name, "/")
		out = append(out, loop.Key{Namespace: namespace, Name: name})
	}
	return out
}

func zoneOf(o kinds.Object) string { return o.GetLabels()[corev1.LabelTopologyZone] }

func ready(o kinds.Object) bool {
	n, ok := o.(*corev1.Node)
	if !ok {
		return false
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
