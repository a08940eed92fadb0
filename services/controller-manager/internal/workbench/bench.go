// Package workbench drives controllers over an API in memory step by step, without
// time.
package workbench

import (
	"context"
	"reflect"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	testingclock "k8s.io/utils/clock/testing"

	"coracle.local/libs/apitest"
	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/loop"
)

// Epoch is when every bench begins.
var Epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Bench drives controllers over an API, one step at a time.
type Bench struct {
	T     testing.TB
	API   *API
	Clock *testingclock.FakeClock
	loops []loop.Loop
	steps []loop.Stepper
	also  []func() bool

	addresses int // of pods
}

// New returns a bench whose API has some objects.
func New(t testing.TB, objects ...kinds.Object) *Bench {
	c := testingclock.NewFakeClock(Epoch)
	b := &Bench{T: t, API: NewAPI(c), Clock: c}
	b.API.Seed(objects...)
	return b
}

// Deps is what controllers are made with.
func (b *Bench) Deps() loop.Deps {
	return loop.Deps{Log: zaptest.NewLogger(b.T), API: b.API, Clock: b.Clock}
}

// Add puts controllers on the bench, which must be made with Deps.
func (b *Bench) Add(loops ...loop.Loop) *Bench {
	for _, l := range loops {
		b.loops = append(b.loops, l)
		b.steps = append(b.steps, l.Manual())
	}
	return b
}

// Also adds something that acts when it sees fit, as a kubelet would. It
// tells whether it did anything.
func (b *Bench) Also(act func() bool) *Bench {
	b.also = append(b.also, act)
	return b
}

// maxSteps ends a test whose controllers fight one another.
const maxSteps = 20000

// Settle lets everybody act until nobody has anything to do at this time.
func (b *Bench) Settle() {
	b.T.Helper()
	for n := 0; ; n++ {
		if n == maxSteps {
			b.T.Fatalf("no rest after %d steps; the last calls: %v", n, tail(b.API.Calls()))
		}
		busy := b.API.Deliver()
		for _, s := range b.steps {
			busy = s.Step(context.Background()) || busy
		}
		for _, act := range b.also {
			busy = act() || busy
		}
		if !busy {
			return
		}
	}
}

func tail(s []string) []string { return s[max(0, len(s)-20):] }

// Advance lets time pass, with a stop wherever some controller has something
// to do.
func (b *Bench) Advance(d time.Duration) {
	b.T.Helper()
	end := b.Clock.Now().Add(d)
	b.Settle()
	for n := 0; ; n++ {
		next := end
		for _, s := range b.steps {
			if due, ok := s.Due(); ok && due.Before(next) {
				next = due
			}
		}
		if next.After(b.Clock.Now()) {
			b.Clock.SetTime(next)
		}
		b.Settle()
		if next.Equal(end) {
			return
		}
		if n == maxSteps {
			b.T.Fatalf("controllers look again without end")
		}
	}
}

// Failing returns the keys whose last look failed, with why.
func (b *Bench) Failing() map[string]string {
	out := map[string]string{}
	for _, l := range b.loops {
		for _, f := range l.Status().Failing {
			out[f.Controller+" "+f.Key] = f.Err
		}
	}
	return out
}

// Get reads an object as it is now, not as caches show it.
func Get[T kinds.Object](b *Bench, namespace, name string) T {
	b.T.Helper()
	o, ok := Find[T](b, namespace, name)
	if !ok {
		b.T.Fatalf("%s %s/%s is not there", kinds.For[T]().Kind, namespace, name)
	}
	return o
}

// Find reads an object that may not be there.
func Find[T kinds.Object](b *Bench, namespace, name string) (T, bool) {
	return apitest.Get[T](b.API.API, namespace, name)
}

// All reads all objects of a type in a namespace; empty is everywhere.
func All[T kinds.Object](b *Bench, namespace string) []T {
	return apitest.All[T](b.API.API, namespace)
}

// Change updates an object, status and all, as somebody else would.
func Change[T kinds.Object](b *Bench, namespace, name string, f func(T)) {
	b.T.Helper()
	before, o := Get[T](b, namespace, name), Get[T](b, namespace, name)
	f(o)
	if spec := apitest.Spec(o); spec != nil && !reflect.DeepEqual(spec, apitest.Spec(before)) {
		o.SetGeneration(before.GetGeneration() + 1)
	}
	b.API.Seed(o)
}
