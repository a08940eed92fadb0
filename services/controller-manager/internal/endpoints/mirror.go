package endpoints

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// mirroredBy is the name under which mirrored slices go; it is upstream's.
const mirroredBy = "endpointslicemirroring-controller.k8s.io"

// mirrorState is what there is to see of one name.
type mirrorState struct {
	// Endpoints is nil if nothing is to be mirrored.
	Endpoints *corev1.Endpoints
	Slices    []*discoveryv1.EndpointSlice
}

// Mirroring is endpointslice-mirroring-controller: slices of the Endpoints that
// people write for Services without a selector. perSubset is
// --mirroring-max-endpoints-per-subset.
func Mirroring(d loop.Deps, batch time.Duration, perSubset int) loop.Loop {
	services, endpoints := cluster.Of[*corev1.Service](d.API), cluster.Of[*corev1.Endpoints](d.API)
	slices := cluster.Of[*discoveryv1.EndpointSlice](d.API)
	slices.Index(byService, serviceIndex)
	return loop.New(d, loop.Spec[loop.Key, mirrorState]{
		Name: "endpointslice-mirroring-controller", Component: "endpoint-slice-mirroring-controller", First: time.Second, Longest: 100 * time.Second,
		Sources: []loop.Source[loop.Key]{
			{Cache: services, Keys: selectorChanged},
			{Cache: endpoints, Keys: mirrorChanged},
			{Cache: slices, Delay: batch, Keys: mirroredOf},
		},
		Observe: func(k loop.Key, _ time.Time) (mirrorState, bool) {
			s := mirrorState{Slices: cluster.By(slices, byService, k.String(), func(s *discoveryv1.EndpointSlice) bool {
				return s.Labels[discoveryv1.LabelManagedBy] == mirroredBy && s.DeletionTimestamp == nil
			})}
			svc, ok := cluster.Get[*corev1.Service](services, k.Namespace, k.Name)
			if e, found := cluster.Get[*corev1.Endpoints](endpoints, k.Namespace, k.Name); found && ok && svc.Spec.Selector == nil && mirrored(e) {
				s.Endpoints = e
			}
			return s, s.Endpoints != nil || len(s.Slices) > 0
		},
		Compute: func(s mirrorState, _ time.Time) plan.Plan { return mirror(s, perSubset) },
	})
}

// mirrored tells whether Endpoints may be mirrored, which their labels and what
// they serve for decide.
func mirrored(e *corev1.Endpoints) bool {
	_, lock := e.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]
	return e.Labels[discoveryv1.LabelSkipMirror] != "true" && !lock
}

func selectorChanged(before, after kinds.Object) []loop.Key {
	without := func(o kinds.Object) bool {
		s, ok := o.(*corev1.Service)
		return ok && s.Spec.Selector == nil
	}
	if without(before) == without(after) {
		return nil
	}
	return owner.Self(before, after)
}

func mirrorChanged(before, after kinds.Object) []loop.Key {
	for _, o := range []kinds.Object{before, after} {
		if e, ok := o.(*corev1.Endpoints); ok && mirrored(e) {
			return owner.Self(before, after)
		}
	}
	return nil
}

// mirroredOf is the names whose slices a change concerns.
func mirroredOf(before, after kinds.Object) []loop.Key {
	var out []loop.Key
	for _, o := range []kinds.Object{before, after} {
		if o == nil || o.GetLabels()[discoveryv1.LabelManagedBy] != mirroredBy {
			continue
		}
		if name := o.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
			out = append(out, loop.Key{Namespace: o.GetNamespace(), Name: name})
		}
	}
	return out
}
