package aggregate

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

const (
	attempts = 5
	patience = 5 * time.Second

	// aggregatorUser asks on the server's own behalf.
	aggregatorUser = "system:kube-aggregator"
	masters        = "system:masters"
)

// examine finds out whether a server can be reached. The error says that it
// should be tried again before long.
func (r *remote) examine(ctx context.Context, s *apiregistrationv1.APIService) (apiregistrationv1.APIServiceCondition, error) {
	ref := s.Spec.Service
	no := func(status apiregistrationv1.ConditionStatus, reason, format string, args ...any) apiregistrationv1.APIServiceCondition {
		return apiregistrationv1.APIServiceCondition{
			Type: apiregistrationv1.Available, Status: status, Reason: reason, Message: fmt.Sprintf(format, args...),
		}
	}
	about := fmt.Sprintf("service/%s in %q", ref.Name, ref.Namespace)
	service, err := r.backends.Objects.Service(ctx, ref.Namespace, ref.Name)
	switch {
	case apierrors.IsNotFound(err):
		return no(apiregistrationv1.ConditionFalse, "ServiceNotFound", "%s is not present", about), nil
	case err != nil:
		return no(apiregistrationv1.ConditionUnknown, "ServiceAccessError", "%s cannot be checked due to: %v", about, err), nil
	}
	if service.Spec.Type == corev1.ServiceTypeClusterIP {
		i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == r.service.port })
		if i < 0 {
			return no(apiregistrationv1.ConditionFalse, "ServicePortError", "%s is not listening on port %d", about, r.service.port), nil
		}
		port := service.Spec.Ports[i].Name
		all, err := r.backends.Objects.EndpointSlices(ctx, ref.Namespace, ref.Name)
		switch {
		case err != nil:
			return no(apiregistrationv1.ConditionUnknown, "EndpointsAccessError", "%s cannot be checked due to: %v", about, err), nil
		case len(all) == 0:
			return no(apiregistrationv1.ConditionFalse, "EndpointsNotFound", "cannot find endpointslices for %s", about), nil
		case !slices.ContainsFunc(all, func(s *discoveryv1.EndpointSlice) bool { return serves(s, port) }):
			return no(apiregistrationv1.ConditionFalse, "MissingEndpoints", "endpointslices for %s have no addresses with port name %q", about, port), nil
		}
	}
	if err := r.probe(ctx); err != nil {
		return no(apiregistrationv1.ConditionFalse, "FailedDiscoveryCheck", "%v", err), err
	}
	return no(apiregistrationv1.ConditionTrue, "Passed", "all checks passed"), nil
}

// serves tells whether a slice has a ready endpoint with the port.
func serves(s *discoveryv1.EndpointSlice, port string) bool {
	return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool {
		return e.Conditions.Ready == nil || *e.Conditions.Ready
	}) && slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool {
		return p.Name != nil && *p.Name == port && p.Port != nil
	})
}

// probe asks for what every API server has to answer. One of several endpoints
// that does is enough.
func (r *remote) probe(ctx context.Context) error {
	if r.failed != nil {
		return r.failed
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	results := make(chan error, attempts)
	for range attempts {
		go func() { results <- r.ask(ctx) }()
	}
	var last error
	passed := false
	for range attempts {
		if err := <-results; err == nil {
			passed = true
			cancel()
		} else if !passed {
			last = err
		}
	}
	if passed {
		return nil
	}
	return last
}

func (r *remote) ask(ctx context.Context) error {
	place, err := r.choose(ctx)
	if err != nil {
		return err
	}
	url := r.location(place.Address(), r.path())
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url.String(), http.NoBody)
	if err != nil {
		return err
	}
	transport.SetAuthProxyHeaders(q, aggregatorUser, "", []string{masters}, nil)
	answer, err := r.transport.RoundTrip(q)
	switch {
	case err != nil:
		err = fmt.Errorf("Get %q: %w", url, err)
	default:
		_ = answer.Body.Close()
		if answer.StatusCode < 200 || answer.StatusCode >= 300 {
			err = fmt.Errorf("bad status from %v: %d", url, answer.StatusCode)
		}
	}
	if err != nil {
		r.transport.CloseIdleConnections()
		return fmt.Errorf("failing or missing response from %v: %w", url, err)
	}
	return nil
}
