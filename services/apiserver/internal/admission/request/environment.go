// Package request is a write or connection as webhooks and policies see it: its
// objects with their kind, in each of the versions that rules may be about, and
// what it takes to match rules and selectors with it.
package request

import (
	"context"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/custom"
	"coracle.local/services/apiserver/internal/strategy"
)

// Environment is what is known beside a request. All fields must be set.
type Environment struct {
	Reader admission.Reader
	// Live reads an object as it is stored at this moment.
	Live admission.Live
	// Strategy is the behaviour of a kind, custom ones too.
	Strategy   func(*kinds.Kind) *strategy.Erased
	Authorizer authorizer.UnconditionalAuthorizer
}

// Namespace finds a namespace: in the cache, or where it is stored. The error
// is NotFound if there is none.
func (e *Environment) Namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	if ns, ok := auth.Get[*corev1.Namespace](e.Reader, "", name); ok {
		return ns, nil
	}
	k := kinds.For[*corev1.Namespace]()
	o, err := e.Live(ctx, k, "", name)
	if err != nil {
		return nil, err
	}
	ns, ok := o.(*corev1.Namespace)
	if !ok {
		return nil, apierrors.NewNotFound(k.GroupResource(), name)
	}
	return ns, nil
}

// Review tells whether a request is a question about identity or rights, which
// neither webhooks nor policies see: a mistake would lock everybody out.
func Review(a *admission.Attributes) bool {
	return (a.Kind.Group == "authentication.k8s.io" || a.Kind.Group == "authorization.k8s.io") && !a.Kind.Stored()
}

// AboutPolicy tells whether a request is about a policy or a binding of one,
// AboutWebhooks whether it is about a configuration of webhooks. Nothing of the
// kind judges its like, so that what is wrong can be removed.
func AboutPolicy(a *admission.Attributes) bool {
	return a.Kind.Group == admissionv1.GroupName && strings.Contains(a.Kind.Kind, "AdmissionPolicy")
}

// AboutWebhooks is told by AboutPolicy.
func AboutWebhooks(a *admission.Attributes) bool {
	return a.Kind.Group == admissionv1.GroupName && strings.HasSuffix(a.Kind.Kind, "WebhookConfiguration")
}

// equivalents are the kinds that show the same stored objects, k among them.
func equivalents(k *kinds.Kind, subresource string) []*kinds.Kind {
	all := kinds.All()
	if d := custom.Of(k); d != nil {
		all = d.Kinds()
	}
	var out []*kinds.Kind
	for _, one := range all {
		if stored(one) == stored(k) && (subresource == "" || one.HasSubresource(subresource)) {
			out = append(out, one)
		}
	}
	return out
}

func stored(k *kinds.Kind) *kinds.Kind {
	if k.StoredAs != nil {
		return k.StoredAs
	}
	return k
}

// convert shows an object of one kind as an equivalent one.
func (e *Environment) convert(o kinds.Object, from, to *kinds.Kind) (kinds.Object, error) {
	if from == to {
		return o, nil
	}
	var err error
	if from.StoredAs != nil {
		if o, err = e.Strategy(from).Shared.ToStored(o); err != nil {
			return nil, err
		}
	}
	if to.StoredAs != nil {
		if o, err = e.Strategy(to).Shared.FromStored(o); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// orders are the kinds of subresources that are no updates of the object itself.
var orders = map[string]schema.GroupVersionKind{
	"pods/binding":          {Version: "v1", Kind: "Binding"},
	"pods/eviction":         {Group: "policy", Version: "v1", Kind: "Eviction"},
	"serviceaccounts/token": {Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"},
	"pods/exec":             {Version: "v1", Kind: "PodExecOptions"},
	"pods/attach":           {Version: "v1", Kind: "PodAttachOptions"},
	"pods/portforward":      {Version: "v1", Kind: "PodPortForwardOptions"},
	"pods/proxy":            {Version: "v1", Kind: "PodProxyOptions"},
	"services/proxy":        {Version: "v1", Kind: "ServiceProxyOptions"},
	"nodes/proxy":           {Version: "v1", Kind: "NodeProxyOptions"},
}

var scaleKind = schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}
