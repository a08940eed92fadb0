package admission

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/kinds"
)

// ownerReferences lets only those give an object to an owner who could delete
// it, and only those let it block an owner's deletion who may finalize that.
type ownerReferences struct {
	authorizer authorizer.UnconditionalAuthorizer
	kinds      func(schema.GroupVersionKind) *kinds.Kind // those that are served
}

func newOwnerReferences(c Config) *ownerReferences {
	p := &ownerReferences{c.Authorizer, c.Kinds}
	if p.kinds == nil {
		p.kinds = kinds.ByKind
	}
	return p
}

func (p *ownerReferences) Validate(ctx context.Context, a *Attributes) error {
	if a.Operation != Create && a.Operation != Update || a.Object == nil {
		return nil
	}
	// A pod's status cannot change its owners.
	if a.on("", "pods") && a.Subresource == "status" || !ownersChanged(a) {
		return nil
	}
	if a.Operation != Create {
		decision, reason, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
			User: a.User, Verb: "delete", Namespace: a.Namespace, APIGroup: a.Kind.Group, APIVersion: a.Kind.Version,
			Resource: a.Kind.Plural, Subresource: a.Subresource, Name: a.Name, ResourceRequest: true,
		})
		if decision != authorizer.DecisionAllow {
			return forbidden(a, fmt.Errorf("cannot set an ownerRef on a resource you can't delete: %v, %v", reason, fmt.Sprint(err)))
		}
	}
	blocking := newlyBlocking(a)
	if len(blocking) == 0 || p.finalizesAll(ctx, a) {
		return nil
	}
	for _, ref := range blocking {
		if err := p.mayBlock(ctx, a, ref); err != nil {
			return forbidden(a, err)
		}
	}
	return nil
}

func (p *ownerReferences) finalizesAll(ctx context.Context, a *Attributes) bool {
	decision, _, _ := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: a.User, Verb: "update", APIGroup: "*", APIVersion: "*", Resource: "*", Subresource: "finalizers", Name: "*", ResourceRequest: true,
	})
	return decision == authorizer.DecisionAllow
}

func (p *ownerReferences) mayBlock(ctx context.Context, a *Attributes, ref metav1.OwnerReference) error {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	k := p.kinds(gv.WithKind(ref.Kind))
	if err == nil && k == nil {
		err = &apimeta.NoKindMatchError{GroupKind: gv.WithKind(ref.Kind).GroupKind(), SearchedVersions: []string{gv.Version}}
	}
	if err != nil {
		return fmt.Errorf("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %s Kind %s: %w", ref.APIVersion, ref.Kind, err)
	}
	record := authorizer.AttributesRecord{
		User: a.User, Verb: "update", APIGroup: k.Group, APIVersion: k.Version, Resource: k.Plural,
		Subresource: "finalizers", Name: ref.Name, ResourceRequest: true,
	}
	if k.Namespaced {
		record.Namespace = a.Namespace
	}
	decision, reason, err := p.authorizer.Authorize(ctx, record)
	if decision != authorizer.DecisionAllow {
		return fmt.Errorf("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: %v, %v", reason, fmt.Sprint(err))
	}
	return nil
}

func ownersOf(o kinds.Object) []metav1.OwnerReference {
	if o == nil {
		return nil
	}
	return o.GetOwnerReferences()
}

func ownersChanged(a *Attributes) bool {
	is, was := ownersOf(a.Object), ownersOf(a.Old)
	return len(is)+len(was) > 0 && !equality.Semantic.DeepEqual(is, was)
}

// newlyBlocking are the owners whose deletion the object did not block before.
func newlyBlocking(a *Attributes) []metav1.OwnerReference {
	blocks := func(r metav1.OwnerReference) bool { return r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion }
	already := map[any]bool{}
	for _, r := range ownersOf(a.Old) {
		already[r.UID] = blocks(r)
	}
	var out []metav1.OwnerReference
	for _, r := range ownersOf(a.Object) {
		if blocks(r) && !already[r.UID] {
			out = append(out, r)
		}
	}
	return out
}
