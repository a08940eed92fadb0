package registry

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

// repairer is the component that repair's events come from, as upstream's.
const repairer = "ipallocator-repair-controller"

// installRange makes the cluster's first range anew when it was deleted.
func (r *Registry) installRange(ctx context.Context) error {
	first := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: defaultRange}}
	for _, p := range r.Services.networks {
		first.Spec.CIDRs = append(first.Spec.CIDRs, p.String())
	}
	_, err := r.Create(ctx, kinds.For[*networkingv1.ServiceCIDR](), "", first, WriteOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// confirmRange says that the first range is ready, if nobody has said anything:
// a cluster need not have a controller that does.
func (r *Registry) confirmRange(ctx context.Context) error {
	change := func(current kinds.Object) (kinds.Object, error) {
		first := current.(*networkingv1.ServiceCIDR)
		if apimeta.FindStatusCondition(first.Status.Conditions, networkingv1.ServiceCIDRConditionReady) == nil {
			apimeta.SetStatusCondition(&first.Status.Conditions, metav1.Condition{
				Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue,
				Message: "Kubernetes default Service CIDR is ready", LastTransitionTime: metav1.NewTime(r.Clock.Now()),
			})
		}
		return first, nil
	}
	_, _, err := r.Update(ctx, kinds.For[*networkingv1.ServiceCIDR](), "", defaultRange, "status", change, UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// tell files an event under what a finding is about.
func (r *Registry) tell(ctx context.Context, f found) {
	if f.about == nil {
		return
	}
	about, component := *f.about, repairer
	switch f.action {
	case "PortAllocation":
		component = "portallocator-repair-controller"
	case "":
		f.action, component = "ServiceCIDRCheck", "kubernetes-service-cidr-controller"
	}
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	now := metav1.NewMicroTime(r.Clock.Now())
	name := fmt.Sprintf("%s.%x", about.Name, now.UnixNano())
	if len(validation.NameIsDNSSubdomain(name, false)) > 0 {
		name = string(newUID()) // an address of IPv6 is no name of an event
	}
	e := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		EventTime:  now, ReportingController: component, ReportingInstance: component,
		Action: f.action, Reason: f.reason, Note: f.message, Type: corev1.EventTypeWarning, Regarding: about,
	}
	if _, err := r.Create(ctx, kinds.For[*eventsv1.Event](), namespace, e, WriteOptions{}); err != nil {
		r.Log.Warn("event is not written", zap.String("reason", f.reason), zap.Error(err))
	}
}
