package typed

import (
	"context"

	"google.golang.org/grpc/peer"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/serve"
	"coracle.local/services/apiserver/internal/auth/authn"
)

// action is what a request wants to do to the front's kind.
type action struct {
	verb, namespace, name, subresource string

	labels labels.Selector
	fields fields.Selector
}

// selecting is an action upon many objects. Who may act on one object may select
// that one.
func selecting(verb, namespace string, l labels.Selector, fs fields.Selector) action {
	name, _ := fs.RequiresExactMatch("metadata.name")
	return action{verb: verb, namespace: namespace, name: name, labels: l, fields: fs}
}

func (f *front) record(a action) authorizer.AttributesRecord {
	switch {
	case f.kind.Namespaced:
	case f.kind.Kind == "Namespace":
		a.namespace = a.name // rights in a namespace count for it, too
	default:
		a.namespace = "" // rights in a namespace never count
	}
	record := authorizer.AttributesRecord{
		Verb: a.verb, Namespace: a.namespace, APIGroup: f.kind.Group, APIVersion: f.kind.Version,
		Resource: f.kind.Plural, Subresource: a.subresource, Name: a.name, ResourceRequest: true,
	}
	if a.fields != nil {
		record.FieldSelectorRequirements = a.fields.Requirements()
	}
	if a.labels != nil {
		record.LabelSelectorRequirements, _ = a.labels.Requirements()
	}
	return record
}

// admit identifies the caller and lets the action pass or not. The context it
// returns carries the user.
func (f *front) admit(ctx context.Context, a action) (context.Context, error) {
	return f.Guard.Admit(ctx, Credentials(ctx), f.record(a))
}

// Credentials are what a gRPC call brings along. Connections of the server's
// own process carry their user.
func Credentials(ctx context.Context) authn.Credentials {
	c := authn.FromContext(ctx)
	if p, ok := peer.FromContext(ctx); ok {
		if local, ok := p.AuthInfo.(serve.Identity); ok {
			c.Local = local.User
		}
	}
	return c
}
