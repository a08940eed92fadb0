package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
)

// repairer is the component that repair's events come from, as upstream's.
const repairer = "ipallocator-repair-controller"

// mend does what is to be done about a finding, and tells it.
func (r *Registry) mend(ctx context.Context, f found, told bool) error {
	var err error
	switch f.cure {
	case install:
		return r.installRange(ctx)
	case confirm:
		return r.confirmRange(ctx)
	case renew:
		if err = r.dropAddress(ctx, f.name, ""); err == nil {
			err = r.recordAddress(ctx, f)
		}
	case record:
		err = r.recordAddress(ctx, f)
	case remove:
		err = r.dropAddress(ctx, f.name, f.uid)
	}
	if errors.Is(err, errMended) {
		return nil
	}
	if err == nil && !told {
		r.tell(ctx, f)
	}
	return err
}

// errMended says that somebody else was faster.
var errMended = errors.New("it is as it should be")

func (r *Registry) recordAddress(ctx context.Context, f found) error {
	r.Services.mu.Lock()
	svc := r.Services.services[f.finding.uid]
	r.Services.mu.Unlock()
	ip, err := netip.ParseAddr(f.name)
	if svc == nil || err != nil {
		return errMended
	}
	_, err = r.Create(ctx, kinds.For[*networkingv1.IPAddress](), "", newAddress(ip, svc), WriteOptions{})
	if apierrors.IsAlreadyExists(err) {
		return errMended
	}
	return err
}

func (r *Registry) dropAddress(ctx context.Context, name string, uid types.UID) error {
	o := &metav1.DeleteOptions{}
	if uid != "" {
		o.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	_, _, err := r.Delete(ctx, kinds.For[*networkingv1.IPAddress](), "", name, o)
	if uid != "" && (apierrors.IsNotFound(err) || apierrors.IsConflict(err)) {
		return errMended
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

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
