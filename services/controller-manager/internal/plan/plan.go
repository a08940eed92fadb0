// Package plan is the vocabulary in which controllers say what is to be done:
// a pure step returns a Plan, and Run carries it out.
package plan

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
)

// Plan is what one look at an object came to. The zero Plan is "all is well".
type Plan struct {
	// Do is carried out in order; the first failure ends it.
	Do []Action
	// Then, if not nil, is asked what follows from the results. It is as pure
	// as the step that made the plan, and is asked after a failure too.
	Then func(Outcome) Plan
	// After, if positive, is when to look again even if nothing changes.
	After time.Duration
	// Err, if not nil, says why nothing better could be planned. The object is
	// looked at again later, with back-off.
	Err error
}

// Add appends actions.
func (p *Plan) Add(a ...Action) { p.Do = append(p.Do, a...) }

// Again asks for another look after d, unless an earlier one is asked for.
func (p *Plan) Again(d time.Duration) {
	if d > 0 && (p.After == 0 || d < p.After) {
		p.After = d
	}
}

// Action is one thing to do: data that a test can compare.
type Action interface {
	// Run does it. What it wrote is told to env.
	Run(ctx context.Context, env *Env) Result
	// String says it to people, in the imperative.
	String() string
}

// Result is what an action came to.
type Result struct {
	// Object is what the API server answered; nil if it had none.
	Object kinds.Object
	// Objects is the answer of a List.
	Objects []kinds.Object
	// Kinds is the answer of a Discover. Partial is why an answer may not be all,
	// or other than wished, which is no failure.
	Kinds   []*kinds.Kind
	Partial error
	// Version is the answer of a Revision.
	Version string
	// Each has the results of the parts of a Parallel.
	Each []Result
	// Skipped says that it was not done, and that this is no error.
	Skipped bool
	// Existed says of a Create that the name was taken.
	Existed bool
	Err     error
}

// Outcome is what a plan's actions came to, in their order. Actions after the
// first that failed are missing.
type Outcome struct {
	Results []Result
	// Err is the first failure.
	Err error
}

// Write says what became of an object: it is at least at a version, or it is
// gone or going.
type Write struct {
	Kind            *kinds.Kind
	Namespace, Name string
	UID             types.UID
	// Version is empty for a deletion.
	Version string
}

// Env is what actions work on.
type Env struct {
	Calls  cluster.Calls
	Events record.EventRecorder
	// Wrote is told of every write that succeeded, also concurrently.
	Wrote func(Write)
	// Did is told of every action that ran, in order of their ends.
	Did func(Action, error)
	// Made is told of every object that was created, and of when that began;
	// Now is the clock it goes by. Both may be nil.
	Made func(kinds.Object, time.Time)
	Now  func() time.Time
}

func (e *Env) wrote(o kinds.Object) {
	if o == nil || e.Wrote == nil {
		return
	}
	e.Wrote(Write{Kind: kinds.ForObject(o), Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), Version: o.GetResourceVersion()})
}

// stages bounds how many plans may follow from one another, so that a Then
// that never ends shows as an error.
const stages = 16

var errEndless = errors.New("a plan goes on without end")

// Run carries out a plan and those that follow from it. It returns when to
// look again and the first failure.
func Run(ctx context.Context, env *Env, p Plan) (time.Duration, error) {
	var first error
	var after time.Duration
	for range stages {
		out := run(ctx, env, p.Do)
		for _, err := range []error{out.Err, p.Err} {
			if first == nil {
				first = err
			}
		}
		if p.After > 0 && (after == 0 || p.After < after) {
			after = p.After
		}
		if p.Then == nil {
			return after, first
		}
		p = p.Then(out)
	}
	return after, errEndless
}

func run(ctx context.Context, env *Env, actions []Action) Outcome {
	var out Outcome
	for _, a := range actions {
		r := a.Run(ctx, env)
		if env.Did != nil {
			env.Did(a, r.Err)
		}
		out.Results = append(out.Results, r)
		if r.Err != nil {
			out.Err = r.Err
			return out
		}
	}
	return out
}

// Cause is the API server's own words in an error of an action, for conditions
// that people read; the error itself if there are none.
func Cause(err error) error {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return errors.New(status.Status().Message)
	}
	return err
}
