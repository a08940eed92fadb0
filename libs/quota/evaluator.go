// Package quota measures objects in the units of ResourceQuotas. The API
// server charges by it and the controller manager recounts by it, so that both
// come to the same sums.
package quota

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Requirement is one scope of a quota with what it asks of it.
type Requirement = corev1.ScopedResourceSelectorRequirement

// Object is what is measured. Kinds that are only counted need no more than
// their metadata.
type Object = metav1.Object

// World is what an evaluator looks up beside the object itself. Its functions
// may be nil, which is a world without any such objects.
type World struct {
	Now time.Time
	// DeviceClasses are those of the cluster.
	DeviceClasses func() []*resourcev1.DeviceClass
	// Pod finds a pod, nil if there is none.
	Pod func(namespace, name string) *corev1.Pod
	// ResourceClaims are those of a namespace.
	ResourceClaims func(namespace string) []*resourcev1.ResourceClaim
}

// Change is a write as far as quotas look at it. Old is nil for creations.
type Change struct {
	Subresource string
	Object, Old Object
}

// Evaluator measures the objects of one resource. Its functions are pure but
// for what they read of the World; an object of another type than the
// evaluator's has no usage and matches no scope.
type Evaluator struct {
	Resource schema.GroupResource
	// Names keeps of the names of a quota's resources those that the evaluator
	// measures.
	Names func(hard []corev1.ResourceName, w World) []corev1.ResourceName
	// Usage is what an object takes.
	Usage func(o Object, w World) corev1.ResourceList
	// Charged tells whether a write may change what an object takes.
	Charged func(c Change, w World) bool
	// Missing words what an object must specify for a quota of these
	// resources, and does not; it is empty if all is there. Nil asks nothing.
	Missing func(required []corev1.ResourceName, o Object) string
	// InScope tells whether an object meets one requirement. Nil meets none.
	InScope func(r Requirement, o Object) bool
}

// aliases are the names that quotas had for some kinds before any kind could
// be counted.
var aliases = map[schema.GroupResource]corev1.ResourceName{
	{Resource: "configmaps"}:             corev1.ResourceConfigMaps,
	{Resource: "resourcequotas"}:         corev1.ResourceQuotas,
	{Resource: "replicationcontrollers"}: corev1.ResourceReplicationControllers,
	{Resource: "secrets"}:                corev1.ResourceSecrets,
}

// uncounted are the resources that quotas leave alone: events, and what is
// answered and not stored.
var uncounted = map[schema.GroupResource]bool{
	{Resource: "bindings"}: true, {Resource: "componentstatuses"}: true,
	{Resource: "events"}: true, {Group: "events.k8s.io", Resource: "events"}: true,
	{Group: "authentication.k8s.io", Resource: "tokenreviews"}:             true,
	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}:       true,
	{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}:      true,
	{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}:  true,
	{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}: true,
	{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}:   true,
}

// For returns the evaluator of a resource, of custom ones too; nil if quotas
// leave it alone.
func For(r schema.GroupResource) *Evaluator {
	if uncounted[r] {
		return nil
	}
	switch r {
	case schema.GroupResource{Resource: "pods"}:
		return pods
	case schema.GroupResource{Resource: "services"}:
		return services
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		return volumeClaims
	case schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"}:
		return deviceClaims
	}
	return counter(r)
}

// CountName is how a quota counts the objects of a resource.
func CountName(r schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + r.String())
}

// counter counts objects.
func counter(r schema.GroupResource) *Evaluator {
	names := []corev1.ResourceName{CountName(r)}
	if alias, ok := aliases[r]; ok {
		names = append(names, alias)
	}
	return &Evaluator{
		Resource: r,
		Names:    func(hard []corev1.ResourceName, _ World) []corev1.ResourceName { return both(hard, names) },
		Usage: func(Object, World) corev1.ResourceList {
			out := corev1.ResourceList{}
			for _, name := range names {
				out[name] = number(1)
			}
			return out
		},
		Charged: func(c Change, _ World) bool { return c.Subresource == "" && c.Old == nil },
	}
}

// Matches tells whether a quota limits an object: it has resources of the
// evaluator's, and the object is within all its scopes.
func (e *Evaluator) Matches(q *corev1.ResourceQuota, o Object, w World) bool {
	return len(e.Names(Names(q.Status.Hard), w)) > 0 && e.Within(q, o)
}

// Within tells whether an object is within all scopes of a quota.
func (e *Evaluator) Within(q *corev1.ResourceQuota, o Object) bool {
	for _, r := range Scopes(q) {
		if e.InScope == nil || !e.InScope(r, o) {
			return false
		}
	}
	return true
}

// Meets keeps the requirements that an object meets.
func (e *Evaluator) Meets(requirements []Requirement, o Object) []Requirement {
	return slices.DeleteFunc(slices.Clone(requirements), func(r Requirement) bool { return e.InScope == nil || !e.InScope(r, o) })
}

// Scopes are a quota's requirements: of both fields that may hold them.
func Scopes(q *corev1.ResourceQuota) []Requirement {
	var out []Requirement
	for _, scope := range q.Spec.Scopes {
		out = append(out, Requirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists})
	}
	if q.Spec.ScopeSelector != nil {
		out = append(out, q.Spec.ScopeSelector.MatchExpressions...)
	}
	return out
}
