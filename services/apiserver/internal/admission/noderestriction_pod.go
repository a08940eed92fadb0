package admission

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/services/apiserver/internal/auth/references"
)

// pod lets a kubelet create and delete mirror pods of its own, report on the
// pods that are bound to it, and evict them.
func (p *nodeRestriction) pod(node string, a *Attributes) error {
	switch a.Subresource {
	case "":
		switch a.Operation {
		case Create:
			return p.mirrorPod(node, a)
		case Delete:
			return p.ownPod(a, a.Name, node, fmt.Errorf("node %q can only delete pods with spec.nodeName set to itself", node))
		}
		return forbidden(a, fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", a.Operation, node))
	case "status":
		return restrictPodStatus(node, a)
	case "eviction":
		return p.eviction(node, a)
	}
	return forbidden(a, fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.Subresource))
}

// ownPod refuses for a pod that is bound elsewhere.
func (p *nodeRestriction) ownPod(a *Attributes, name, node string, refusal error) error {
	existing, err := cached[*corev1.Pod](p.lookup, a.Namespace, name)
	if err != nil {
		return err
	}
	if existing.Spec.NodeName != node {
		return forbidden(a, refusal)
	}
	return nil
}

func (p *nodeRestriction) mirrorPod(node string, a *Attributes) error {
	pod, err := typed[*corev1.Pod](a, a.Object)
	if err != nil {
		return err
	}
	if !mirror(pod) {
		return forbidden(a, fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node))
	}
	if pod.Spec.NodeName != node {
		return forbidden(a, fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node))
	}
	if err := p.ownedByNode(pod, node, a); err != nil {
		return err
	}
	what, err := references.Foreign(pod)
	if err != nil {
		return forbidden(a, fmt.Errorf("error checking mirror pod for API references: %w", err))
	}
	if what != "" {
		return forbidden(a, fmt.Errorf("node %q can not create pods that reference %s", node, what))
	}
	return nil
}

func (p *nodeRestriction) ownedByNode(pod *corev1.Pod, name string, a *Attributes) error {
	switch len(pod.OwnerReferences) {
	case 0:
		return forbidden(a, fmt.Errorf("node %q can only create pods with an owner reference set to itself", name))
	case 1:
	default:
		return forbidden(a, fmt.Errorf("node %q can only create pods with a single owner reference set to itself", name))
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != name:
		return forbidden(a, fmt.Errorf("node %q can only create pods with an owner reference set to itself", name))
	case owner.Controller == nil || !*owner.Controller:
		return forbidden(a, fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", name))
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return forbidden(a, fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", name))
	}
	node, err := cached[*corev1.Node](p.lookup, "", name)
	if err != nil {
		return err
	}
	if owner.UID != node.UID {
		return forbidden(a, fmt.Errorf("node %s UID mismatch: expected %s got %s", name, owner.UID, node.UID))
	}
	return nil
}

func restrictPodStatus(node string, a *Attributes) error {
	if a.Operation != Update {
		return unexpectedOperation(a)
	}
	old, err := typed[*corev1.Pod](a, a.Old)
	if err != nil {
		return err
	}
	pod, err := typed[*corev1.Pod](a, a.Object)
	if err != nil {
		return err
	}
	// The status of claims is what gives the node access to them.
	sameClaim := func(x, y corev1.PodResourceClaimStatus) bool {
		return x.Name == y.Name && equality.Semantic.DeepEqual(x.ResourceClaimName, y.ResourceClaimName)
	}
	extended, oldExtended := pod.Status.ExtendedResourceClaimStatus, old.Status.ExtendedResourceClaimStatus
	switch {
	case old.Spec.NodeName != node:
		return forbidden(a, fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node))
	case !labels.Equals(old.Labels, pod.Labels):
		return forbidden(a, fmt.Errorf("node %q cannot update labels through pod status", node))
	case !slices.EqualFunc(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses, sameClaim):
		return forbidden(a, fmt.Errorf("node %q cannot update resource claim statues", node))
	case !equality.Semantic.DeepEqual(oldExtended, extended):
		return forbidden(a, fmt.Errorf("node %q cannot update extended resource claim status", node))
	case !equality.Semantic.DeepEqual(old.Status.NodeAllocatableResourceClaimStatuses, pod.Status.NodeAllocatableResourceClaimStatuses):
		return forbidden(a, fmt.Errorf("node %q cannot update node allocatable resource claim statuses", node))
	}
	return nil
}

func (p *nodeRestriction) eviction(node string, a *Attributes) error {
	if a.Operation != Create {
		return forbidden(a, fmt.Errorf("unexpected operation %s", a.Operation))
	}
	eviction, err := typed[*policyv1.Eviction](a, a.Object)
	if err != nil {
		return err
	}
	name := a.Name
	if name == "" {
		name = eviction.Name
	}
	if name == "" {
		return forbidden(a, errors.New("could not determine pod from request data"))
	}
	return p.ownPod(a, name, node, fmt.Errorf("node %s can only evict pods with spec.nodeName set to itself", node))
}
