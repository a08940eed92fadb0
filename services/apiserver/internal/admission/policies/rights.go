package policies

import (
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/admission/request"
	"coracle.local/services/apiserver/internal/auth"
)

// Rights lets nobody make a policy that reads what its author may not: messages
// would tell it. It is no plugin of upstream's, where the registry does this.
type Rights struct {
	Environment *request.Environment
	Params      Params
}

// Validate implements admission.Validator.
func (p *Rights) Validate(ctx context.Context, a *admission.Attributes) error {
	if a.Kind.Group != admissionv1.GroupName || a.Subresource != "" || a.Object == nil || auth.Privileged(a.User) {
		return nil
	}
	at, err := p.check(ctx, a)
	if err == nil {
		return nil
	}
	return apierrors.NewInvalid(a.Kind.GroupVersionKind().GroupKind(), a.Object.GetName(),
		field.ErrorList{field.Forbidden(field.NewPath("spec", at), err.Error())})
}

// check returns the field that an error is about.
func (p *Rights) check(ctx context.Context, a *admission.Attributes) (string, error) {
	switch o := a.Object.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		old, _ := a.Old.(*admissionv1.ValidatingAdmissionPolicy)
		if old != nil && same(o.Spec.ParamKind, old.Spec.ParamKind) {
			return "", nil
		}
		return "paramKind", p.kind(ctx, a.User, o.Spec.ParamKind)
	case *admissionv1.MutatingAdmissionPolicy:
		old, _ := a.Old.(*admissionv1.MutatingAdmissionPolicy)
		if old != nil && same(o.Spec.ParamKind, old.Spec.ParamKind) {
			return "", nil
		}
		return "paramKind", p.kind(ctx, a.User, o.Spec.ParamKind)
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		policy, ok := auth.Get[*admissionv1.ValidatingAdmissionPolicy](p.Environment.Reader, "", o.Spec.PolicyName)
		var kind *admissionv1.ParamKind
		if ok {
			kind = policy.Spec.ParamKind
		}
		return "paramRef", p.reference(ctx, a.User, o.Spec.ParamRef, o.Spec.PolicyName, ok, kind, func(verb string) error {
			return fmt.Errorf(`user %v does not have "%v" permission on the object referenced by paramRef`, a.User, verb)
		})
	case *admissionv1.MutatingAdmissionPolicyBinding:
		policy, ok := auth.Get[*admissionv1.MutatingAdmissionPolicy](p.Environment.Reader, "", o.Spec.PolicyName)
		var kind *admissionv1.ParamKind
		if ok {
			kind = policy.Spec.ParamKind
		}
		return "paramRef", p.reference(ctx, a.User, o.Spec.ParamRef, o.Spec.PolicyName, ok, kind, func(verb string) error {
			// Upstream, too, has the two the wrong way round here.
			return fmt.Errorf(`user %v does not have "%v" permission on the object referenced by paramRef`, verb, a.User)
		})
	}
	return "", nil
}

func same(a, b *admissionv1.ParamKind) bool { return a != nil && b != nil && *a == *b }

// resource is what the objects of a kind of parameters are called; "*" stands for
// what is not known.
func (p *Rights) resource(kind *admissionv1.ParamKind) (record authorizer.AttributesRecord, parseErr, resolveErr error) {
	record = authorizer.AttributesRecord{ResourceRequest: true, APIGroup: "*", APIVersion: "*", Resource: "*"}
	gv, err := schema.ParseGroupVersion(kind.APIVersion)
	if err != nil {
		return record, err, nil
	}
	record.APIGroup, record.APIVersion = gv.Group, gv.Version
	k := p.Params.Kind(gv.WithKind(kind.Kind))
	if k == nil {
		return record, nil, errors.New("no such kind")
	}
	record.Resource = k.Plural
	return record, nil, nil
}

func (p *Rights) kind(ctx context.Context, u user.Info, kind *admissionv1.ParamKind) error {
	if kind == nil {
		return nil
	}
	record, _, _ := p.resource(kind)
	record.User, record.Verb, record.Name, record.Namespace = u, "get", "*", "*"
	decision, _, err := p.Environment.Authorizer.Authorize(ctx, record)
	if err != nil {
		return err
	}
	if decision != authorizer.DecisionAllow {
		return fmt.Errorf(`user %v must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, u, kind.Kind, kind.APIVersion)
	}
	return nil
}

func (p *Rights) reference(ctx context.Context, u user.Info, ref *admissionv1.ParamRef, policy string, known bool, kind *admissionv1.ParamKind, refused func(verb string) error) error {
	if ref == nil {
		return nil
	}
	record := authorizer.AttributesRecord{ResourceRequest: true, APIGroup: "*", APIVersion: "*", Resource: "*"}
	var parseErr, resolveErr error
	if kind != nil {
		record, parseErr, resolveErr = p.resource(kind)
	}
	verb := "get"
	if ref.Name == "" {
		verb = "list"
	}
	record.User, record.Verb, record.Name, record.Namespace = u, verb, ref.Name, ref.Namespace
	decision, _, err := p.Environment.Authorizer.Authorize(ctx, record)
	const needs = `to determine minimum required permissions and user %v does not have "%v" permission for all groups, versions and resources`
	switch {
	case err != nil:
		return fmt.Errorf("failed to authorize request: %w", err)
	case decision == authorizer.DecisionAllow:
		return nil
	case !known:
		return fmt.Errorf("unable to get policy %s "+needs, policy, u, verb)
	case parseErr != nil:
		return fmt.Errorf("unable to parse paramKind &{%s %s} "+needs, kind.APIVersion, kind.Kind, u, verb)
	case resolveErr != nil:
		return fmt.Errorf("unable to resolve paramKind &{%s %s} "+needs, kind.APIVersion, kind.Kind, u, verb)
	}
	return refused(verb)
}
