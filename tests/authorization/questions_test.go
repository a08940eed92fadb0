package authorization

import (
	"fmt"
	"math/rand/v2"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// question is one SubjectAccessReview, as both servers are asked it.
func question(r *rand.Rand) *authorizationv1.SubjectAccessReview {
	spec := authorizationv1.SubjectAccessReviewSpec{User: pick(r, users())}
	for range r.IntN(3) {
		spec.Groups = append(spec.Groups, pick(r, groups[:7+r.IntN(2)*r.IntN(2)]))
	}
	if spec.User == "" && len(spec.Groups) == 0 {
		spec.Groups = []string{"readers"}
	}
	switch {
	case r.IntN(4) == 0:
		nodeQuestion(r, &spec)
	case r.IntN(7) == 0:
		spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Verb: pick(r, verbs), Path: pick(r, paths)}
	default:
		spec.ResourceAttributes = &authorizationv1.ResourceAttributes{
			Verb: pick(r, verbs), Group: pick(r, apiGroups), Resource: pick(r, resources), Subresource: pick(r, subresources),
			Name: pick(r, names), Namespace: pick(r, append([]string{"", "absent"}, namespaces...)),
		}
		if r.IntN(10) == 0 {
			selectors(r, spec.ResourceAttributes)
		}
	}
	return &authorizationv1.SubjectAccessReview{Spec: spec}
}

// nodeResources are those about which the node authorizer has an opinion of its
// own, and a few of the others.
var nodeResources = []authorizationv1.ResourceAttributes{
	{Resource: "secrets"},
	{Resource: "secrets"},
	{Resource: "secrets"},
	{Resource: "configmaps"},
	{Resource: "persistentvolumeclaims"},
	{Resource: "persistentvolumeclaims", Subresource: "status"},
	{Resource: "persistentvolumes"},
	{Resource: "serviceaccounts"},
	{Resource: "serviceaccounts", Subresource: "token"},
	{Resource: "nodes"},
	{Resource: "nodes", Subresource: "status"},
	{Resource: "pods"},
	{Resource: "pods", Subresource: "status"},
	{Resource: "pods", Subresource: "eviction"},
	{Resource: "pods", Subresource: "binding"},
	{Group: "resource.k8s.io", Resource: "resourceclaims"},
	{Group: "resource.k8s.io", Resource: "resourceslices"},
	{Group: "storage.k8s.io", Resource: "volumeattachments"},
	{Group: "storage.k8s.io", Resource: "csinodes"},
	{Group: "storage.k8s.io", Resource: "csinodes", Subresource: "status"},
	{Group: "coordination.k8s.io", Resource: "leases"},
	{Group: "certificates.k8s.io", Resource: "podcertificaterequests"},
	{Group: "certificates.k8s.io", Resource: "podcertificaterequests", Subresource: "status"},
	{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"},
	{Resource: "services"},
	{Resource: "events"},
	{Group: "storage.k8s.io", Resource: "csidrivers"},
	{Group: "node.k8s.io", Resource: "runtimeclasses"},
	{Group: "authentication.k8s.io", Resource: "tokenreviews"},
	{Group: "certificates.k8s.io", Resource: "clustertrustbundles"},
	{Resource: "endpoints"},
}

func nodeQuestion(r *rand.Rand, spec *authorizationv1.SubjectAccessReviewSpec) {
	node := fmt.Sprintf("n%d", r.IntN(nodes+1))
	spec.User, spec.Groups = "system:node:"+node, []string{"system:nodes", "system:authenticated"}
	switch r.IntN(12) {
	case 0:
		spec.User = "system:node:"
	case 1:
		spec.Groups = spec.Groups[1:]
	}
	a := pick(r, nodeResources)
	a.Verb = pick(r, verbs[:8])
	if r.IntN(2) == 0 {
		a.Verb = pick(r, []string{"get", "list", "create"})
	}
	a.Namespace = pick(r, append([]string{"", "kube-node-lease"}, namespaces[:nodeNamespaces]...))
	a.Name = nodeObject(r, a.Resource, node)
	if r.IntN(3) == 0 {
		selectors(r, &a)
	}
	spec.ResourceAttributes = &a
}

func nodeObject(r *rand.Rand, resource, node string) string {
	switch i := r.IntN(10); {
	case i == 0:
		return ""
	case resource == "nodes" || resource == "leases" || resource == "csinodes":
		return pick(r, []string{node, "n0", "n1"})
	}
	kind := map[string]string{
		"secrets": pick(r, []string{"secret", "secret", "pull", "csi"}), "configmaps": "config", "persistentvolumeclaims": pick(r, []string{"claim", "pod"}), "persistentvolumes": "volume",
		"serviceaccounts": "account", "pods": "pod", "resourceclaims": "gpu", "resourceslices": "slice", "volumeattachments": "attachment",
		"podcertificaterequests": "request",
	}[resource]
	if kind == "pod" && resource != "pods" {
		return fmt.Sprintf("pod-%d-scratch", r.IntN(pods))
	}
	return fmt.Sprintf("%s-%d", kind, r.IntN(pods))
}

// selectors restrict what is listed, well or badly.
func selectors(r *rand.Rand, a *authorizationv1.ResourceAttributes) {
	value := fmt.Sprintf("n%d", r.IntN(nodes))
	switch r.IntN(6) {
	case 0, 1:
		a.FieldSelector = &authorizationv1.FieldSelectorAttributes{RawSelector: "spec.nodeName=" + value}
	case 2:
		a.FieldSelector = &authorizationv1.FieldSelectorAttributes{Requirements: []metav1.FieldSelectorRequirement{
			{Key: "spec.nodeName", Operator: pick(r, []metav1.FieldSelectorOperator{"In", "NotIn", "Exists", "Near"}), Values: some(r, []string{value, "n0"})},
		}}
	case 3:
		a.FieldSelector = &authorizationv1.FieldSelectorAttributes{RawSelector: "spec.nodeName=" + value + ",metadata.name!=x"}
	case 4:
		a.LabelSelector = &authorizationv1.LabelSelectorAttributes{RawSelector: pick(r, []string{"a=b", "a in (b,c)", "!a", "a=,", "=="})}
	case 5:
		a.LabelSelector = &authorizationv1.LabelSelectorAttributes{Requirements: []metav1.LabelSelectorRequirement{
			{Key: pick(r, []string{"a", "-bad-"}), Operator: pick(r, []metav1.LabelSelectorOperator{"In", "Exists", "Near"}), Values: []string{"b"}},
		}}
	}
}
