package admission

import (
	"context"
	"errors"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

// nodeRestriction narrows what the Node authorizer allows every kubelet down
// to the objects of its own node, where that takes a look at the object.
type nodeRestriction struct {
	lookup     lookup
	authorizer authorizer.UnconditionalAuthorizer
}

func (p *nodeRestriction) Admit(ctx context.Context, a *Attributes) error {
	node, ok := auth.NodeName(a.User)
	if !ok || a.Operation == Connect {
		return nil
	}
	if node == "" {
		return forbidden(a, fmt.Errorf("could not determine node from user %q", a.User.GetName()))
	}
	switch a.Kind.GroupResource().String() {
	case "pods":
		return p.pod(node, a)
	case "nodes":
		return restrictNode(node, a)
	case "persistentvolumeclaims":
		if a.Subresource != "status" {
			return forbidden(a, errors.New("may only update PVC status"))
		}
		return restrictClaimStatus(node, a)
	case "serviceaccounts":
		return p.token(ctx, node, a)
	case "podcertificaterequests.certificates.k8s.io":
		return p.podCertificate(ctx, node, a)
	case "leases.coordination.k8s.io":
		return restrictLease(node, a)
	case "csinodes.storage.k8s.io":
		return restrictCSINode(node, a)
	case "resourceslices.resource.k8s.io":
		return restrictSlice(node, a)
	case "certificatesigningrequests.certificates.k8s.io":
		return restrictSigningRequest(node, a)
	}
	return nil
}

func (p *nodeRestriction) Validate(ctx context.Context, a *Attributes) error {
	if !a.request() {
		return nil
	}
	return p.Admit(ctx, a)
}

// typed returns the object of the type that the resource has.
func typed[T kinds.Object](a *Attributes, o kinds.Object) (T, error) {
	t, ok := o.(T)
	if !ok {
		return t, forbidden(a, fmt.Errorf("unexpected type %T", o))
	}
	return t, nil
}

func unexpectedOperation(a *Attributes) error {
	return forbidden(a, fmt.Errorf("unexpected operation %q", a.Operation))
}

func restrictClaimStatus(node string, a *Attributes) error {
	if a.Operation != Update {
		return unexpectedOperation(a)
	}
	old, err := typed[*corev1.PersistentVolumeClaim](a, a.Old)
	if err != nil {
		return err
	}
	now, err := typed[*corev1.PersistentVolumeClaim](a, a.Object)
	if err != nil {
		return err
	}
	old, now = withoutResize(old), withoutResize(now)
	if !equality.Semantic.DeepEqual(old, now) {
		return forbidden(a, fmt.Errorf("node %q is not allowed to update fields other than status.quantity and status.conditions: %v", node, diff.Diff(old, now)))
	}
	return nil
}

// withoutResize is a claim without what the kubelet writes after it resized
// the volume.
func withoutResize(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	out := claim.DeepCopy()
	out.ResourceVersion, out.ManagedFields = "", nil
	out.Status.Capacity, out.Status.Conditions = nil, nil
	out.Status.AllocatedResources, out.Status.AllocatedResourceStatuses = nil, nil
	return out
}

func restrictLease(node string, a *Attributes) error {
	if a.Namespace != corev1.NamespaceNodeLease {
		return forbidden(a, fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease))
	}
	name := a.Name
	if a.Operation == Create {
		lease, err := typed[*coordinationv1.Lease](a, a.Object)
		if err != nil {
			return err
		}
		name = lease.Name
	}
	if name != node {
		return forbidden(a, errors.New("can only access node lease with the same name as the requesting node"))
	}
	return nil
}

func restrictCSINode(node string, a *Attributes) error {
	name := a.Name
	if a.Operation == Create {
		name = a.Object.GetName()
	}
	switch {
	case name != node:
		return forbidden(a, errors.New("can only access CSINode with the same name as the requesting node"))
	case a.Subresource == "status":
		return forbidden(a, errors.New("CSIVolumeHealth feature gate is disabled"))
	}
	return nil
}

// restrictSlice looks at what the authorizer cannot know: the content of a
// new slice, and each slice of a collection that is deleted.
func restrictSlice(node string, a *Attributes) error {
	object, verb := a.Object, "create"
	switch a.Operation {
	case Create:
	case Delete:
		object, verb = a.Old, "delete"
	default:
		return nil
	}
	slice, err := typed[*resourcev1.ResourceSlice](a, object)
	if err != nil {
		return err
	}
	if slice.Spec.NodeName == nil || *slice.Spec.NodeName != node {
		return forbidden(a, fmt.Errorf("can only %s ResourceSlice with the same NodeName as the requesting node", verb))
	}
	return nil
}
