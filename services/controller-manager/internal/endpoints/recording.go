package endpoints

import (
	"context"
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/plan"
)

// recording is a client-go clientset, as far as upstream's EndpointSlice
// reconciler uses one, that notes what it is told to do and does nothing. It
// makes a pure function of the reconciler.
type recording struct {
	kubernetes.Interface
	discoveryclient.DiscoveryV1Interface
	actions []plan.Action
}

// DiscoveryV1 implements kubernetes.Interface.
func (r *recording) DiscoveryV1() discoveryclient.DiscoveryV1Interface { return &recordedGroup{r: r} }

type recordedGroup struct {
	discoveryclient.DiscoveryV1Interface
	r *recording
}

// EndpointSlices implements discoveryclient.DiscoveryV1Interface.
func (g *recordedGroup) EndpointSlices(namespace string) discoveryclient.EndpointSliceInterface {
	return &recordedSlices{r: g.r, namespace: namespace}
}

type recordedSlices struct {
	discoveryclient.EndpointSliceInterface
	r         *recording
	namespace string
}

// Create implements discoveryclient.EndpointSliceInterface.
func (s *recordedSlices) Create(_ context.Context, o *discoveryv1.EndpointSlice, _ metav1.CreateOptions) (*discoveryv1.EndpointSlice, error) {
	s.r.actions = append(s.r.actions, plan.Create{Object: o})
	return o, nil
}

// Update implements discoveryclient.EndpointSliceInterface.
func (s *recordedSlices) Update(_ context.Context, o *discoveryv1.EndpointSlice, _ metav1.UpdateOptions) (*discoveryv1.EndpointSlice, error) {
	s.r.actions = append(s.r.actions, plan.Update{Object: o})
	return o, nil
}

// Delete implements discoveryclient.EndpointSliceInterface.
func (s *recordedSlices) Delete(_ context.Context, name string, o metav1.DeleteOptions) error {
	s.r.actions = append(s.r.actions, plan.Delete{Kind: kinds.For[*discoveryv1.EndpointSlice](), Namespace: s.namespace, Name: name, Options: o})
	return nil
}

// Event, Eventf and AnnotatedEventf make it an EventRecorder that notes, too.
func (r *recording) Event(about runtime.Object, eventType, reason, message string) {
	if o, ok := about.(kinds.Object); ok {
		r.actions = append(r.actions, plan.Event{About: o, Type: eventType, Reason: reason, Message: message})
	}
}

// Eventf implements record.EventRecorder.
func (r *recording) Eventf(about runtime.Object, eventType, reason, format string, args ...any) {
	r.Event(about, eventType, reason, fmt.Sprintf(format, args...))
}

// AnnotatedEventf implements record.EventRecorder.
func (r *recording) AnnotatedEventf(about runtime.Object, _ map[string]string, eventType, reason, format string, args ...any) {
	r.Event(about, eventType, reason, fmt.Sprintf(format, args...))
}
