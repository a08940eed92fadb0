// Package admission has the last word on writes: plugins complete objects and
// refuse what the cluster's rules forbid.
package admission

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

// Operation is what a request does.
type Operation string

// The operations.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Reader shows the present state of the cluster, without I/O.
type Reader = auth.Reader

// Attributes are what the plugins see of a request. Mutators change Object in
// place.
type Attributes struct {
	// Kind is that of the resource in the URL, also for subresources whose
	// Object is of another kind (bindings, evictions, token requests).
	Kind            *kinds.Kind
	Namespace, Name string
	Subresource     string
	Operation       Operation
	// Verb is the request's; empty is the operation's own.
	Verb string
	// Object is what is to be written; nil for deletions. Old is what is
	// there; nil for creations.
	Object, Old kinds.Object
	Options     runtime.Object
	User        user.Info
	DryRun      bool
	// Collection tells that the request did not name the object.
	Collection bool
	// Warn tells the client something; it may be nil.
	Warn func(string)
	// Annotate adds a fact to the request's audit events, AnnotateBody one that
	// is for events that show bodies, too. They may be nil.
	Annotate, AnnotateBody func(key, value string)
	// Reinvocation is what mutators know of each other's changes.
	Reinvocation Reinvocation
}

// Reinvocation lets mutators see an object again that others changed after them.
type Reinvocation struct {
	// Round is 0, and 1 when the mutators are asked again.
	Round int
	// Again is set by who changes an object so that earlier mutators want to
	// see it.
	Again bool
	// State is what a mutator keeps from one round to the next, by its name.
	State map[string]any
}

// Mutator completes or refuses an object before it is validated.
type Mutator interface {
	Admit(ctx context.Context, a *Attributes) error
}

// Validator refuses an object that is complete.
type Validator interface {
	Validate(ctx context.Context, a *Attributes) error
}

// Permitter finds what the author of a write may not do; its errors are told
// before those of validation, together with them.
type Permitter interface {
	Permit(ctx context.Context, a *Attributes) field.ErrorList
}

// Chain asks plugins in order; the first refusal ends it.
type Chain struct {
	Mutators   []Mutator
	Permitters []Permitter
	Validators []Validator
}

// Permit asks all permitters.
func (c *Chain) Permit(ctx context.Context, a *Attributes) field.ErrorList {
	var errs field.ErrorList
	for _, p := range c.Permitters {
		errs = append(errs, p.Permit(ctx, a)...)
	}
	return errs
}

// Admit runs the mutators, and all of them once more if one wants that. An error
// is one for the client.
func (c *Chain) Admit(ctx context.Context, a *Attributes) error {
	if err := c.admit(ctx, a); err != nil || !a.Reinvocation.Again {
		return err
	}
	a.Reinvocation.Round++
	return c.admit(ctx, a)
}

func (c *Chain) admit(ctx context.Context, a *Attributes) error {
	for _, m := range c.Mutators {
		if err := m.Admit(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Validate runs the validators. An error is one for the client.
func (c *Chain) Validate(ctx context.Context, a *Attributes) error {
	for _, v := range c.Validators {
		if err := v.Validate(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// request tells whether there is nothing for mutators to complete: deletions,
// and subresources that are requests of another kind. A registry may pass by
// the mutators with these, so the plugins that guard something check them in
// both rounds.
func (a *Attributes) request() bool {
	switch a.Subresource {
	case "binding", "eviction", "token":
		return true
	}
	return a.Operation == Delete
}

// verb is what the user does to the object.
func (a *Attributes) verb() string {
	if a.Verb != "" {
		return a.Verb
	}
	return strings.ToLower(string(a.Operation))
}

// on tells whether the request is about a resource, of whatever version.
func (a *Attributes) on(group, plural string) bool {
	return a.Kind != nil && a.Kind.Plural == plural && a.Kind.Group == group
}

func (a *Attributes) warn(message string) {
	if a.Warn != nil {
		a.Warn(message)
	}
}

// forbidden is the refusal of a request in upstream's form. An error that
// already is one is kept.
func forbidden(a *Attributes, err error) error {
	if apierrors.IsForbidden(err) {
		return err
	}
	return apierrors.NewForbidden(a.Kind.GroupResource(), a.objectName(), err)
}

// Forbidden is the refusal of a request in upstream's form, for plugins elsewhere.
func Forbidden(a *Attributes, err error) error { return forbidden(a, err) }

// objectName is the name as far as it is known: a create may leave it to the
// server.
func (a *Attributes) objectName() string {
	switch {
	case a.Collection:
	case a.Name != "":
		return a.Name
	case a.Object != nil && a.Object.GetName() != "":
		return a.Object.GetName()
	case a.Object != nil && a.Object.GetGenerateName() != "":
		return a.Object.GetGenerateName()
	}
	return "Unknown"
}
