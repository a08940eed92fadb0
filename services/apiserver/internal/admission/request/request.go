package request

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"
	caching "k8s.io/apiserver/pkg/admission/plugin/authorizer"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
)

// Request is one request on its way through one plugin. It is for one goroutine.
type Request struct {
	*admission.Attributes
	env     *Environment
	subject schema.GroupVersionKind // of the object; that of the resource's kind if empty
	options runtime.Object
	space   string
	name    string // as the request has it

	same  []*kinds.Kind // the equivalent kinds, once asked for
	views map[*kinds.Kind]*View
	authz authorizer.UnconditionalAuthorizer
}

// View is a request in one version: the resource and kind that rules matched,
// and the objects as that kind.
type View struct {
	Resource schema.GroupVersionResource
	Kind     schema.GroupVersionKind
	// Attributes has the objects; they carry their kind, and are not to be
	// modified.
	*upstream.VersionedAttributes

	as *kinds.Kind
}

// New looks at a request.
func New(e *Environment, a *admission.Attributes) *Request {
	r := &Request{Attributes: a, env: e, options: options(a), space: a.Namespace, name: a.Name, views: map[*kinds.Kind]*View{}}
	switch order, ok := orders[a.Kind.Plural+"/"+a.Subresource]; {
	case ok && (a.Kind.Group == ""):
		r.subject = order
	case a.Subresource == "scale":
		r.subject = scaleKind
	}
	if a.Collection {
		r.name = ""
	}
	if namespaces(a) {
		r.space = a.Name // a namespace is in itself
	}
	return r
}

func namespaces(a *admission.Attributes) bool {
	return a.Kind.Kind == "Namespace" && a.Kind.Group == ""
}

// Environment is what is known beside the request.
func (r *Request) Environment() *Environment { return r.env }

// Within is the request's namespace; that of a namespace is itself.
func (r *Request) Within() string { return r.space }

// Namespace is the object of the request's namespace; nil for requests that are
// in none, and for those about a namespace.
func (r *Request) Namespace(ctx context.Context) (*corev1.Namespace, error) {
	if r.space == "" || namespaces(r.Attributes) {
		return nil, nil
	}
	return r.env.Namespace(ctx, r.space)
}

// Authorizer answers for the time of the request, and the same question once.
func (r *Request) Authorizer() authorizer.UnconditionalAuthorizer {
	if r.authz == nil {
		r.authz = caching.NewCachingAuthorizer(r.env.Authorizer)
	}
	return r.authz
}

// kindIn is the kind of the request's object in the version of an equivalent
// kind.
func (r *Request) kindIn(k *kinds.Kind) schema.GroupVersionKind {
	if !r.subject.Empty() {
		return r.subject
	}
	return k.GroupVersionKind()
}

func (r *Request) equivalents() []*kinds.Kind {
	if r.same == nil {
		r.same = equivalents(r.Kind, r.Subresource)
	}
	return r.same
}

// View shows the request as an equivalent kind, one that Match has chosen.
func (r *Request) View(k *kinds.Kind) (*View, error) {
	if v := r.views[k]; v != nil {
		return v, nil
	}
	old, err := r.show(r.Old, k)
	if err != nil {
		return nil, err
	}
	object, err := r.subjectAs(k)
	if err != nil {
		return nil, err
	}
	v := &View{Resource: k.GroupVersionResource(), Kind: r.kindIn(k), as: k}
	v.VersionedAttributes = &upstream.VersionedAttributes{Attributes: r.record(object, old), VersionedKind: v.Kind}
	if old != nil {
		v.VersionedOldObject = upstream.NewLazyObject(old)
	}
	if object != nil {
		v.VersionedObject = upstream.NewLazyObject(object)
	}
	r.views[k] = v
	return v, nil
}

// As is the kind that rules matched.
func (v *View) As() *kinds.Kind { return v.as }

// Object is what is to be written in this version, nil if nothing is.
func (v *View) Object() runtime.Object { return v.VersionedObject.Object() }

// OldObject is what is there in this version, nil if nothing is.
func (v *View) OldObject() runtime.Object { return v.VersionedOldObject.Object() }

// record is the request in upstream's form.
func (r *Request) record(object, old runtime.Object) upstream.Attributes {
	who := r.User
	if who == nil {
		who = &user.DefaultInfo{}
	}
	return upstream.NewAttributesRecord(object, old, r.kindIn(r.Kind), r.space, r.name, r.Kind.GroupVersionResource(), r.Subresource,
		upstream.Operation(r.Operation), r.options, r.DryRun, who)
}

// options are the request's, as the operation's kind of options: a patch is an
// update, or a creation where nothing was.
func options(a *admission.Attributes) runtime.Object {
	switch a.Operation {
	case admission.Create:
		o := &metav1.CreateOptions{}
		switch given := a.Options.(type) {
		case *metav1.CreateOptions:
			*o = *given
		case *metav1.PatchOptions:
			o.DryRun, o.FieldManager, o.FieldValidation = given.DryRun, given.FieldManager, given.FieldValidation
		case *metav1.UpdateOptions:
			o.DryRun, o.FieldManager, o.FieldValidation = given.DryRun, given.FieldManager, given.FieldValidation
		}
		o.SetGroupVersionKind(metaKind("CreateOptions"))
		o.DryRun = dryRun(a, o.DryRun)
		return o
	case admission.Update:
		o := &metav1.UpdateOptions{}
		switch given := a.Options.(type) {
		case *metav1.UpdateOptions:
			*o = *given
		case *metav1.PatchOptions:
			o.DryRun, o.FieldManager, o.FieldValidation = given.DryRun, given.FieldManager, given.FieldValidation
		}
		o.SetGroupVersionKind(metaKind("UpdateOptions"))
		o.DryRun = dryRun(a, o.DryRun)
		return o
	case admission.Delete:
		o := &metav1.DeleteOptions{}
		if given, ok := a.Options.(*metav1.DeleteOptions); ok {
			*o = *given
		}
		o.SetGroupVersionKind(metaKind("DeleteOptions"))
		o.DryRun = dryRun(a, o.DryRun)
		return o
	}
	return nil
}

// dryRun is for options that did not come over REST.
func dryRun(a *admission.Attributes, given []string) []string {
	if a.DryRun && !slices.Contains(given, metav1.DryRunAll) {
		return []string{metav1.DryRunAll}
	}
	return given
}

func metaKind(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "meta.k8s.io", Version: "v1", Kind: kind}
}
