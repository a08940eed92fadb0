package bootstrap

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"coracle.local/libs/kinds"
)

// Action is what is to be done with an object that is already there.
type Action string

// The actions of Reconcile.
const (
	// Keep leaves the object as it is.
	Keep Action = "keep"
	// Update writes the returned object.
	Update Action = "update"
	// Recreate deletes the object and creates the returned one: a binding's
	// role cannot be changed.
	Recreate Action = "recreate"
)

// Reconcile compares an object that is there with the one every cluster has
// and returns what to write. As upstream's, it only ever adds rights, so that
// what an administrator granted stays; an object annotated against updates is
// left alone. Neither argument is modified.
func Reconcile(existing, wanted kinds.Object) (kinds.Object, Action) {
	switch w := wanted.(type) {
	case *rbacv1.ClusterRole:
		if e, ok := existing.(*rbacv1.ClusterRole); ok && updatable(e) {
			return reconcileClusterRole(e, w)
		}
	case *rbacv1.Role:
		if e, ok := existing.(*rbacv1.Role); ok && updatable(e) {
			out := e.DeepCopy()
			mergeMeta(&out.ObjectMeta, &w.ObjectMeta)
			out.Rules = addMissing(out.Rules, w.Rules)
			return changed(out, e)
		}
	case *rbacv1.ClusterRoleBinding:
		if e, ok := existing.(*rbacv1.ClusterRoleBinding); ok && updatable(e) {
			if e.RoleRef != w.RoleRef {
				return w, Recreate
			}
			out := e.DeepCopy()
			mergeMeta(&out.ObjectMeta, &w.ObjectMeta)
			out.Subjects = addSubjects(out.Subjects, w.Subjects)
			return changed(out, e)
		}
	case *rbacv1.RoleBinding:
		if e, ok := existing.(*rbacv1.RoleBinding); ok && updatable(e) {
			if e.RoleRef != w.RoleRef {
				return w, Recreate
			}
			out := e.DeepCopy()
			mergeMeta(&out.ObjectMeta, &w.ObjectMeta)
			out.Subjects = addSubjects(out.Subjects, w.Subjects)
			return changed(out, e)
		}
	default:
		return reconcileOther(existing, wanted)
	}
	return existing, Keep
}

func reconcileOther(existing, wanted kinds.Object) (kinds.Object, Action) {
	switch w := wanted.(type) {
	case *flowcontrolv1.FlowSchema:
		if e, ok := existing.(*flowcontrolv1.FlowSchema); ok && (mandatory(w.Name) || autoUpdated(e)) {
			out := e.DeepCopy()
			out.Spec = w.Spec
			return changed(out, e)
		}
	case *flowcontrolv1.PriorityLevelConfiguration:
		if e, ok := existing.(*flowcontrolv1.PriorityLevelConfiguration); ok && (mandatory(w.Name) || autoUpdated(e)) {
			out := e.DeepCopy()
			out.Spec = *w.Spec.DeepCopy()
			if e.Spec.Exempt != nil && w.Spec.Exempt != nil {
				out.Spec.Exempt = e.Spec.Exempt.DeepCopy() // an administrator may tune these
			}
			return changed(out, e)
		}
	case *networkingv1.ServiceCIDR:
		e, ok := existing.(*networkingv1.ServiceCIDR)
		// A cluster may grow a second range; any other change is refused.
		if ok && len(e.Spec.CIDRs) == 1 && len(w.Spec.CIDRs) == 2 && e.Spec.CIDRs[0] == w.Spec.CIDRs[0] {
			out := e.DeepCopy()
			out.Spec.CIDRs = w.Spec.CIDRs
			return out, Update
		}
	case *corev1.Endpoints:
		if e, ok := existing.(*corev1.Endpoints); ok {
			out := e.DeepCopy()
			out.Labels = merged(out.Labels, w.Labels)
			out.Subsets = w.Subsets
			return changed(out, e)
		}
	case *discoveryv1.EndpointSlice:
		if e, ok := existing.(*discoveryv1.EndpointSlice); ok {
			if e.AddressType != w.AddressType {
				return w, Recreate
			}
			out := e.DeepCopy()
			out.Labels = merged(out.Labels, w.Labels)
			out.Endpoints, out.Ports = w.Endpoints, w.Ports
			return changed(out, e)
		}
	case *corev1.ConfigMap:
		if e, ok := existing.(*corev1.ConfigMap); ok && w.Data[clientCAKey]+w.Data[requestHeaderCAKey] != "" {
			out := e.DeepCopy()
			out.Data = mergeAuthentication(e.Data, w.Data)
			return changed(out, e)
		}
	}
	return existing, Keep
}

func reconcileClusterRole(e, w *rbacv1.ClusterRole) (kinds.Object, Action) {
	out := e.DeepCopy()
	mergeMeta(&out.ObjectMeta, &w.ObjectMeta)
	if w.AggregationRule == nil {
		out.AggregationRule = nil
		out.Rules = addMissing(out.Rules, w.Rules)
		return changed(out, e)
	}
	// What an aggregated role holds is the aggregation controller's business.
	if out.AggregationRule == nil {
		out.AggregationRule = &rbacv1.AggregationRule{}
	}
	for _, selector := range w.AggregationRule.ClusterRoleSelectors {
		if !slices.ContainsFunc(out.AggregationRule.ClusterRoleSelectors, func(s metav1.LabelSelector) bool {
			return equality.Semantic.DeepEqual(s, selector)
		}) {
			out.AggregationRule.ClusterRoleSelectors = append(out.AggregationRule.ClusterRoleSelectors, selector)
		}
	}
	return changed(out, e)
}

func updatable(o kinds.Object) bool {
	return o.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] != "false"
}

// autoUpdated tells whether a suggested object of flow control follows ours:
// it does if it says so, or if it says nothing and was never changed.
func autoUpdated(o kinds.Object) bool {
	value, ok := o.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey]
	if !ok {
		return o.GetGeneration() == 1
	}
	return value == "true"
}

func mandatory(name string) bool {
	return name == flowcontrolv1.PriorityLevelConfigurationNameExempt || name == flowcontrolv1.PriorityLevelConfigurationNameCatchAll
}

func changed(out, existing kinds.Object) (kinds.Object, Action) {
	if equality.Semantic.DeepEqual(out, existing) {
		return existing, Keep
	}
	return out, Update
}

// mergeMeta adds wanted labels and annotations; values that are there stay.
func mergeMeta(out, wanted *metav1.ObjectMeta) {
	out.Labels = merged(wanted.Labels, out.Labels)
	out.Annotations = merged(wanted.Annotations, out.Annotations)
}

// merged joins two maps; the second has the last word.
func merged(first, second map[string]string) map[string]string {
	out := maps.Clone(first)
	if out == nil {
		return maps.Clone(second)
	}
	maps.Copy(out, second)
	return out
}

func addMissing(rules, wanted []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	_, missing := validation.Covers(rules, wanted)
	return append(rules, missing...)
}

func addSubjects(subjects, wanted []rbacv1.Subject) []rbacv1.Subject {
	for _, s := range wanted {
		if !slices.Contains(subjects, s) {
			subjects = append(subjects, s)
		}
	}
	return subjects
}
