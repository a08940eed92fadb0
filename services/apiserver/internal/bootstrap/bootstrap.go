// Package bootstrap has the objects that exist in every cluster from its first
// moment, and the rule by which they are brought up to date at each start.
package bootstrap

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

// Config is what the objects depend on.
type Config struct {
	// ServiceCIDRs are the ranges of Service addresses, one or two; the first
	// gives the kubernetes Service its address.
	ServiceCIDRs []string
	// Endpoint is where the API server is reached.
	Endpoint Endpoint
	// Authentication is published for API servers that extend this one.
	Authentication Authentication
	// Now is the time of the start; zero leaves times out.
	Now time.Time
}

// Objects returns all objects in the order in which they are to be created:
// an object comes after its namespace. The same Config gives the same objects.
func Objects(c Config) ([]kinds.Object, error) {
	service, err := KubernetesService(c)
	if err != nil {
		return nil, err
	}
	authentication, err := c.Authentication.configMap()
	if err != nil {
		return nil, err
	}
	endpoints := slices.Concat([]kinds.Object{service}, EndpointObjects(c.Endpoint))
	return slices.Concat(
		namespaces(), priorityClasses(), flowControl(), rbacObjects(),
		[]kinds.Object{serviceCIDR(c)}, endpoints,
		[]kinds.Object{authentication, tokenTracking(c.Now)},
	), nil
}

// Namespaces returns the initial namespaces alone, for who must have them
// before anything else.
func Namespaces() []kinds.Object { return namespaces() }

func namespaces() []kinds.Object {
	var out []kinds.Object
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, metav1.NamespaceDefault} {
		out = append(out, &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}},
			Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
			Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
		})
	}
	return out
}

// The values of the system's own priority classes; users' go up to 1e9.
const (
	clusterCriticalPriority = 2_000_000_000
	nodeCriticalPriority    = clusterCriticalPriority + 1000
)

func priorityClasses() []kinds.Object {
	policy := corev1.PreemptLowerPriority
	return []kinds.Object{
		&schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: "system-node-critical"}, Value: nodeCriticalPriority, PreemptionPolicy: &policy,
			Description: "Used for system critical pods that must not be moved from their current node.",
		},
		&schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: "system-cluster-critical"}, Value: clusterCriticalPriority, PreemptionPolicy: &policy,
			Description: "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
		},
	}
}

func serviceCIDR(c Config) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: c.ServiceCIDRs},
		Status: networkingv1.ServiceCIDRStatus{Conditions: []metav1.Condition{{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue,
			Message: "Kubernetes default Service CIDR is ready", LastTransitionTime: metav1.NewTime(c.Now),
		}}},
	}
}

// tokenTracking says since when uses of long-lived service account tokens are
// recorded.
func tokenTracking(now time.Time) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: metav1.NamespaceSystem, Name: "kube-apiserver-legacy-service-account-token-tracking",
	}}
	if !now.IsZero() {
		m.Data = map[string]string{"since": now.UTC().Format(time.DateOnly)}
	}
	return m
}
