package plan

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
)

// Get asks the API server itself, for decisions that a cache is not new enough
// for. An absent object is an empty result, not an error.
type Get struct {
	Kind            *kinds.Kind
	Namespace, Name string
}

// Run implements Action.
func (a Get) Run(ctx context.Context, env *Env) Result {
	o, err := env.Calls.Get(ctx, a.Kind, a.Namespace, a.Name)
	if apierrors.IsNotFound(err) {
		return Result{Skipped: true}
	}
	if err != nil {
		return Result{Err: fmt.Errorf("%s: %w", a, err)}
	}
	return Result{Object: o}
}

func (a Get) String() string { return "get " + ref(a.Kind, a.Namespace, a.Name) }

// List asks the API server for all objects of a kind in a namespace.
type List struct {
	Kind      *kinds.Kind
	Namespace string
}

// Run implements Action.
func (a List) Run(ctx context.Context, env *Env) Result {
	objects, err := env.Calls.List(ctx, a.Kind, a.Namespace)
	if err != nil {
		return Result{Err: fmt.Errorf("%s: %w", a, err)}
	}
	return Result{Objects: objects}
}

func (a List) String() string { return fmt.Sprintf("list %s in %s", a.Kind, a.Namespace) }

// Discover asks for the kinds beyond the table. That some or all could not be
// learned is told, and no failure: there is much to do without them.
type Discover struct{}

// Run implements Action.
func (a Discover) Run(ctx context.Context, env *Env) Result {
	found, err := env.Calls.Discover(ctx)
	return Result{Kinds: found, Partial: err}
}

func (a Discover) String() string { return "discover resources" }

// Revision asks for the resource version that a list of a kind has now.
type Revision struct{ Kind *kinds.Kind }

// Run implements Action.
func (a Revision) Run(ctx context.Context, env *Env) Result {
	v, err := env.Calls.Revision(ctx, a.Kind)
	if err != nil {
		return Result{Err: fmt.Errorf("%s: %w", a, err)}
	}
	return Result{Version: v}
}

func (a Revision) String() string { return "learn the resource version of " + a.Kind.String() }

// DeleteAll deletes all objects of a kind in a namespace, one by one if the
// kind cannot do so at once.
type DeleteAll struct {
	Kind      *kinds.Kind
	Namespace string
	Options   metav1.DeleteOptions
}

// Run implements Action.
func (a DeleteAll) Run(ctx context.Context, env *Env) Result {
	if !a.Kind.Has("deletecollection") {
		return a.each(ctx, env)
	}
	if err := env.Calls.DeleteCollection(ctx, a.Kind, a.Namespace, a.Options); err != nil {
		return Result{Err: fmt.Errorf("%s: %w", a, err)}
	}
	return Result{}
}

func (a DeleteAll) each(ctx context.Context, env *Env) Result {
	objects, err := env.Calls.List(ctx, a.Kind, a.Namespace)
	if err != nil {
		return Result{Err: fmt.Errorf("%s: %w", a, err)}
	}
	for _, o := range objects {
		err := env.Calls.Delete(ctx, a.Kind, a.Namespace, o.GetName(), a.Options)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsMethodNotSupported(err) {
			return Result{Err: fmt.Errorf("%s: %w", a, err)}
		}
	}
	return Result{}
}

func (a DeleteAll) String() string { return fmt.Sprintf("delete all %s in %s", a.Kind, a.Namespace) }

// Confirm fails unless an object is still there, is the same one, and is not
// being deleted, by what the API server says now. It stands before adoptions:
// an owner that a cache still shows may be gone, and what it adopted then
// would be deleted with it.
type Confirm struct {
	Kind            *kinds.Kind
	Namespace, Name string
	UID             types.UID
}

// Run implements Action.
func (a Confirm) Run(ctx context.Context, env *Env) Result {
	o, err := env.Calls.Get(ctx, a.Kind, a.Namespace, a.Name)
	switch {
	case err != nil:
		return Result{Err: fmt.Errorf("%s: %w", a, err)}
	case o.GetUID() != a.UID:
		return Result{Err: fmt.Errorf("original %s is gone: got uid %v, wanted %v", ref(a.Kind, a.Namespace, a.Name), o.GetUID(), a.UID)}
	case o.GetDeletionTimestamp() != nil:
		return Result{Err: fmt.Errorf("%s has just been deleted at %v", ref(a.Kind, a.Namespace, a.Name), o.GetDeletionTimestamp())}
	}
	return Result{Object: o}
}

func (a Confirm) String() string { return "confirm " + ref(a.Kind, a.Namespace, a.Name) }

// Event tells people something. It cannot fail.
type Event struct {
	About                 kinds.Object
	Type, Reason, Message string
}

// Run implements Action.
func (a Event) Run(_ context.Context, env *Env) Result {
	env.Events.Event(a.About, a.Type, a.Reason, a.Message)
	return Result{}
}

func (a Event) String() string { return fmt.Sprintf("event %s: %s", a.Reason, a.Message) }
