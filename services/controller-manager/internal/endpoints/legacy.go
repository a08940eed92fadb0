package endpoints

import (
	"fmt"
	"maps"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

const (
	managedByLabel = "endpoints.kubernetes.io/managed-by"
	managedByValue = "endpoint-controller"
	// capacity is the most addresses that an Endpoints object gets.
	capacity  = 1000
	truncated = "truncated"
)

// legacyState is what there is to see of one name: a Service, its pods, and the
// Endpoints; either may be missing.
type legacyState struct {
	backed
	Key  loop.Key
	Have *corev1.Endpoints
}

// Legacy is endpoints-controller.
func Legacy(d loop.Deps, batch time.Duration) loop.Loop {
	services := newServices(d.API, batch)
	endpoints := cluster.Of[*corev1.Endpoints](d.API)
	left := &leftovers{synced: endpoints.Synced}
	sources := append(services.sources(),
		loop.Source[loop.Key]{Cache: services.services, Keys: left.service},
		loop.Source[loop.Key]{Cache: endpoints, Keys: left.endpoints})
	return loop.New(d, loop.Spec[loop.Key, legacyState]{
		Name: "endpoints-controller", Component: "endpoint-controller", Sources: sources,
		Observe: func(k loop.Key, _ time.Time) (legacyState, bool) {
			b, found, wanted := services.observe(k)
			have, ok := cluster.Get[*corev1.Endpoints](endpoints, k.Namespace, k.Name)
			s := legacyState{backed: b, Key: k, Have: have}
			return s, wanted || left.is(k, !found && ok)
		},
		Compute: computeLegacy,
	})
}

func computeLegacy(s legacyState, _ time.Time) plan.Plan {
	if s.Service == nil {
		return leftover(s)
	}
	subsets := subsetsOf(s.Service, s.Pods)
	if s.Have != nil && sameSubsets(s.Have.Subsets, subsets) && labelsFit(s.Have.Labels, s.Service.Labels) && annotationFits(s.Have) {
		return plan.Plan{}
	}
	want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: s.Key.Namespace, Name: s.Key.Name}}
	if s.Have != nil {
		want = s.Have.DeepCopy()
	}
	want.Subsets = subsets
	want.Labels = maps.Clone(s.Service.Labels)
	if want.Labels == nil {
		want.Labels = map[string]string{}
	}
	delete(want.Labels, corev1.IsHeadlessService)
	if s.Service.Spec.ClusterIP == "" || s.Service.Spec.ClusterIP == corev1.ClusterIPNone {
		want.Labels[corev1.IsHeadlessService] = ""
	}
	want.Labels[managedByLabel] = managedByValue
	if want.Annotations == nil {
		want.Annotations = map[string]string{}
	}
	delete(want.Annotations, corev1.EndpointsLastChangeTriggerTime)
	if !s.Triggered.IsZero() {
		want.Annotations[corev1.EndpointsLastChangeTriggerTime] = s.Triggered.UTC().Format(time.RFC3339Nano)
	}
	delete(want.Annotations, corev1.EndpointsOverCapacity)
	if truncate(want.Subsets) {
		want.Annotations[corev1.EndpointsOverCapacity] = truncated
	}
	if s.Have == nil {
		return plan.Plan{Do: []plan.Action{plan.Create{Object: want, Say: plan.Say{About: want, Failed: plan.Note{
			Reason: "FailedToCreateEndpoint",
			Format: fmt.Sprintf("Failed to create endpoint for service %s: %%v", s.Key),
		}}}}}
	}
	return plan.Plan{Do: []plan.Action{plan.Update{Object: want, Say: plan.Say{About: want, Failed: plan.Note{
		Reason: "FailedToUpdateEndpoint",
		Format: fmt.Sprintf("Failed to update endpoint %s: %%v", s.Key),
	}}}}}
}

// leftover deletes the Endpoints of a Service that is gone.
func leftover(s legacyState) plan.Plan {
	if _, lock := s.Have.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]; lock {
		return plan.Plan{}
	}
	return plan.Plan{Do: []plan.Action{plan.DeleteOf(s.Have)}}
}

// labelsFit tells whether labels are the Service's and the controller's own.
func labelsFit(have, service map[string]string) bool {
	if have[managedByLabel] != managedByValue {
		return false
	}
	have = maps.Clone(have)
	delete(have, managedByLabel)
	if _, ok := service[corev1.IsHeadlessService]; !ok {
		delete(have, corev1.IsHeadlessService)
	}
	return len(have) == len(service) && maps.Equal(have, service)
}

func annotationFits(e *corev1.Endpoints) bool {
	ready, notReady := addresses(e.Subsets)
	_, over := e.Annotations[corev1.EndpointsOverCapacity]
	return ready+notReady <= capacity && !over
}

func addresses(subsets []corev1.EndpointSubset) (ready, notReady int) {
	for _, s := range subsets {
		ready += len(s.Addresses)
		notReady += len(s.NotReadyAddresses)
	}
	return ready, notReady
}

// truncate keeps an Endpoints object within its capacity: each subset gives in
// proportion to its size, and what is not ready gives first.
func truncate(subsets []corev1.EndpointSubset) bool {
	ready, notReady := addresses(subsets)
	if ready+notReady <= capacity {
		return false
	}
	room, total := capacity-ready, notReady
	if ready > capacity {
		room, total = capacity, ready
	}
	left := room
	for i := range subsets {
		list := &subsets[i].NotReadyAddresses
		if ready > capacity {
			subsets[i].NotReadyAddresses = nil
			list = &subsets[i].Addresses
		}
		part := min(left, int(math.Ceil(float64(len(*list))/float64(total)*float64(room))))
		*list = (*list)[:min(part, len(*list))]
		left -= len(*list)
	}
	return true
}
