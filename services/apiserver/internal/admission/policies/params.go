package policies

import (
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission/request"
)

// Params finds the objects that policies are given as parameters. What it
// returns is shared, and not modified.
type Params interface {
	// Kind finds a kind, of custom resources too; nil if nothing serves it.
	Kind(schema.GroupVersionKind) *kinds.Kind
	// Get fails with NotFound.
	Get(ctx context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error)
	// List returns the objects with the labels, of all namespaces if it is empty.
	List(ctx context.Context, k *kinds.Kind, namespace string, s labels.Selector) ([]kinds.Object, error)
}

// param is a parameter with its kind on it; the object is nil where a policy is
// asked without one.
type param struct {
	runtime.Object
	id string
}

// paramKindOf finds the kind of a policy's parameters; nil if it has none.
func paramKindOf(p Params, kind *admissionv1.ParamKind) (*kinds.Kind, error) {
	if kind == nil {
		return nil, nil
	}
	gvk := schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind)
	if k := p.Kind(gvk); k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("failed to find resource referenced by paramKind: '%v'", gvk)
}

// paramsFor collects the parameters that a binding names. None at all means
// that the policy is not asked; a nil one that it is asked without.
func paramsFor(ctx context.Context, p Params, k *kinds.Kind, ref *admissionv1.ParamRef, namespace string) ([]param, error) {
	if k == nil || ref == nil {
		return []param{{}}, nil
	}
	switch {
	case k.Namespaced && ref.Namespace != "":
		namespace = ref.Namespace
	case k.Namespaced && namespace == "":
		return nil, errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
	case !k.Namespaced && ref.Namespace != "":
		return nil, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	case !k.Namespaced:
		namespace = ""
	}
	found, err := chosen(ctx, p, k, ref, namespace)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionv1.DenyAction {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	out := make([]param, len(found))
	for i, o := range found {
		out[i] = param{request.Named(o, k.GroupVersionKind()), o.GetNamespace() + "/" + o.GetName()}
	}
	return out, nil
}

func chosen(ctx context.Context, p Params, k *kinds.Kind, ref *admissionv1.ParamRef, namespace string) ([]kinds.Object, error) {
	switch {
	case ref.Name != "" && ref.Selector != nil:
		return nil, errors.New("paramRef.name and paramRef.selector are mutually exclusive")
	case ref.Name != "":
		o, err := p.Get(ctx, k, namespace, ref.Name)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return []kinds.Object{o}, err
	case ref.Selector != nil:
		s, err := metav1.LabelSelectorAsSelector(ref.Selector)
		if err != nil {
			return nil, err
		}
		return p.List(ctx, k, namespace, s)
	}
	return nil, errors.New("one of name or selector must be provided")
}
