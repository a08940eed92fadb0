package plan

import (
	"context"
	"fmt"
	"sync"
)

// Parallel does its parts at the same time; all of them run whatever becomes
// of the others.
type Parallel struct {
	Parts []Action
	// SlowStart begins with one part and doubles while all goes well: of many
	// parts that would fail alike, as under a quota, only the first is tried.
	// Parts that are not tried have the zero Result with Skipped set.
	SlowStart bool
}

// width bounds how many calls of one Parallel are under way at once.
const width = 64

// Run implements Action.
func (a Parallel) Run(ctx context.Context, env *Env) Result {
	out := Result{Each: make([]Result, len(a.Parts))}
	size := len(a.Parts)
	if a.SlowStart {
		size = 1
	}
	for from := 0; from < len(a.Parts); from, size = from+size, 2*size {
		to := min(from+size, len(a.Parts))
		a.batch(ctx, env, out.Each, from, to)
		for i := from; i < to; i++ {
			if err := out.Each[i].Err; err != nil {
				out.Err = err
				break
			}
		}
		if out.Err != nil {
			for i := to; i < len(a.Parts); i++ {
				out.Each[i].Skipped = true
			}
			return out
		}
	}
	return out
}

func (a Parallel) batch(ctx context.Context, env *Env, results []Result, from, to int) {
	if to-from == 1 {
		results[from] = a.Parts[from].Run(ctx, env)
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, width)
	for i := from; i < to; i++ {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			results[i] = a.Parts[i].Run(ctx, env)
		})
	}
	wg.Wait()
}

func (a Parallel) String() string {
	switch len(a.Parts) {
	case 0:
		return "nothing"
	case 1:
		return a.Parts[0].String()
	}
	return fmt.Sprintf("%s and %d more", a.Parts[0], len(a.Parts)-1)
}

// Sequence does its parts one after the other, as one part of a Parallel. The
// first failure ends it.
type Sequence []Action

// Run implements Action.
func (a Sequence) Run(ctx context.Context, env *Env) Result {
	var out Result
	for _, part := range a {
		if out = part.Run(ctx, env); out.Err != nil {
			return out
		}
	}
	return out
}

func (a Sequence) String() string {
	if len(a) == 0 {
		return "nothing"
	}
	return a[len(a)-1].String()
}
