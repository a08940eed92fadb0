package plan

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
)

// Say is the events that go with an action. Failure is not told for what a
// namespace that is being deleted refuses: upstream keeps silent then, too.
type Say struct {
	// About is the object the events are filed under.
	About kinds.Object
	// Done and Failed are formats: Done's gets the name of the object written,
	// Failed's the error. A zero Note says nothing.
	Done, Failed Note
}

// Note is one event to be.
type Note struct{ Reason, Format string }

func (s Say) done(env *Env, name string) {
	if s.Done.Reason != "" {
		env.Events.Event(s.About, corev1.EventTypeNormal, s.Done.Reason, fmt.Sprintf(s.Done.Format, name))
	}
}

func (s Say) failed(env *Env, err error) {
	if s.Failed.Reason != "" {
		env.Events.Event(s.About, corev1.EventTypeWarning, s.Failed.Reason, fmt.Sprintf(s.Failed.Format, err))
	}
}

// Create makes an object.
type Create struct {
	Object kinds.Object
	// MayExist makes it no error that an object of the name is there.
	MayExist bool
	Say      Say
}

// Run implements Action.
func (a Create) Run(ctx context.Context, env *Env) Result {
	var start time.Time
	if env.Now != nil {
		start = env.Now()
	}
	made, err := env.Calls.Create(ctx, a.Object)
	switch {
	case err == nil:
		env.wrote(made)
		if env.Made != nil {
			env.Made(made, start)
		}
		a.Say.done(env, made.GetName())
		return Result{Object: made}
	case a.MayExist && apierrors.IsAlreadyExists(err):
		return Result{Skipped: true, Existed: true}
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		// Nothing can be created there any more, and nothing needs to be.
		return Result{Skipped: true}
	}
	if !apierrors.IsAlreadyExists(err) { // which is often our own, and a cache behind
		a.Say.failed(env, err)
	}
	return Result{Err: fmt.Errorf("create %s: %w", name(a.Object), err)}
}

func (a Create) String() string { return "create " + name(a.Object) }

// Update writes an object, or a subresource of it. It carries the resource
// version it was computed from, so that a newer object is never overwritten.
type Update struct {
	Object      kinds.Object
	Subresource string
	// MayMiss makes it no error that the object is gone.
	MayMiss bool
	Say     Say
}

// UpdateStatus writes an object's status.
func UpdateStatus(o kinds.Object) Update { return Update{Object: o, Subresource: "status"} }

// Run implements Action.
func (a Update) Run(ctx context.Context, env *Env) Result {
	made, err := env.Calls.Update(ctx, a.Object, a.Subresource)
	if a.MayMiss && apierrors.IsNotFound(err) {
		return Result{Skipped: true}
	}
	if err != nil {
		a.Say.failed(env, err)
		return Result{Err: fmt.Errorf("%s: %w", a, err)}
	}
	env.wrote(made)
	a.Say.done(env, made.GetName())
	return Result{Object: made}
}

func (a Update) String() string { return "update " + sub(a.Subresource) + name(a.Object) }

// Patch changes an object.
type Patch struct {
	Kind            *kinds.Kind
	Namespace, Name string
	Type            types.PatchType
	Data            []byte
	Subresource     string
	// MayMiss makes it no error that the object is gone, or is no longer the
	// one the patch was made for.
	MayMiss bool
	Say     Say
}

// Run implements Action.
func (a Patch) Run(ctx context.Context, env *Env) Result {
	made, err := env.Calls.Patch(ctx, a.Kind, a.Namespace, a.Name, a.Type, a.Data, a.Subresource)
	if err == nil {
		env.wrote(made)
		a.Say.done(env, made.GetName())
		return Result{Object: made}
	}
	// A patch that names a UID is refused as invalid, or as a conflict, when
	// the name belongs to another object by now.
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		if a.MayMiss {
			return Result{Skipped: true}
		}
	}
	a.Say.failed(env, err)
	return Result{Err: fmt.Errorf("%s: %w", a, err)}
}

func (a Patch) String() string {
	return "patch " + sub(a.Subresource) + ref(a.Kind, a.Namespace, a.Name)
}

// Delete deletes an object. That it is gone already is no error.
type Delete struct {
	Kind            *kinds.Kind
	Namespace, Name string
	// UID, if not empty, is also the precondition.
	UID     types.UID
	Options metav1.DeleteOptions
	Say     Say
}

// DeleteOf deletes just this object, not another of its name.
func DeleteOf(o kinds.Object) Delete {
	return Delete{Kind: kinds.ForObject(o), Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()}
}

// Run implements Action.
func (a Delete) Run(ctx context.Context, env *Env) Result {
	options := a.Options
	if a.UID != "" {
		p := metav1.Preconditions{UID: &a.UID}
		if options.Preconditions != nil {
			p.ResourceVersion = options.Preconditions.ResourceVersion
		}
		options.Preconditions = &p
	}
	err := env.Calls.Delete(ctx, a.Kind, a.Namespace, a.Name, options)
	if apierrors.IsNotFound(err) {
		return Result{Skipped: true}
	}
	if err != nil {
		a.Say.failed(env, err)
		return Result{Err: fmt.Errorf("%s: %w", a, err)}
	}
	if env.Wrote != nil && a.UID != "" {
		env.Wrote(Write{Kind: a.Kind, Namespace: a.Namespace, Name: a.Name, UID: a.UID})
	}
	a.Say.done(env, a.Name)
	return Result{}
}

func (a Delete) String() string { return "delete " + ref(a.Kind, a.Namespace, a.Name) }

func name(o kinds.Object) string {
	n := o.GetName()
	if n == "" {
		n = o.GetGenerateName() + "*"
	}
	return ref(kinds.ForObject(o), o.GetNamespace(), n)
}

func ref(k *kinds.Kind, namespace, name string) string {
	if namespace != "" {
		name = namespace + "/" + name
	}
	return k.Kind + " " + name
}

func sub(s string) string {
	if s == "" {
		return ""
	}
	return s + " of "
}
