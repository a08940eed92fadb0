// Package admission changes and checks what is about to be written: the plugins
// that upstream runs by default, one file each, and the chain that runs them.
package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
)

// Operation is what a request is about to do.
type Operation string

// The operations that admission sees.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Attributes are what plugins know of a write. Mutators may change Object or
// replace it; nothing else is theirs.
type Attributes struct {
	Kind                         *kinds.Kind
	Namespace, Name, Subresource string
	Operation                    Operation
	// Object is nil for deletions, Old for creations.
	Object, Old kinds.Object
	// Options are the request's, such as *metav1.DeleteOptions; they may be nil.
	Options runtime.Object
	User    user.Info
	DryRun  bool
	// Warn shows the client a warning; it is never nil.
	Warn func(string)
}

// Mutator changes what is written before it is validated.
type Mutator interface {
	Admit(ctx context.Context, a *Attributes) error
}

// Validator refuses what must not be written; it changes nothing.
type Validator interface {
	Validate(ctx context.Context, a *Attributes) error
}

// Chain runs plugins in order; the first error ends it.
type Chain struct {
	Mutators   []Mutator
	Validators []Validator
}

// Admit runs the mutators.
func (c *Chain) Admit(ctx context.Context, a *Attributes) error {
	for _, m := range c.Mutators {
		if err := m.Admit(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Validate runs the validators.
func (c *Chain) Validate(ctx context.Context, a *Attributes) error {
	for _, v := range c.Validators {
		if err := v.Validate(ctx, a); err != nil {
			return err
		}
	}
	return nil
}
