package loop_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/workbench"
)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: workbench.Meta(name)}
}

// copies is a controller that makes a Secret of the name of each ConfigMap.
func copies(d loop.Deps, compute func(*corev1.ConfigMap) plan.Plan) loop.Loop {
	maps, secrets := cluster.Of[*corev1.ConfigMap](d.API), cluster.Of[*corev1.Secret](d.API)
	return loop.New(d, loop.Spec[loop.Key, *corev1.ConfigMap]{
		Name:    "copy-controller",
		Sources: []loop.Source[loop.Key]{{Cache: maps, Keys: owner.Self}, {Cache: secrets, Keys: owner.Self}},
		Observe: func(k loop.Key, _ time.Time) (*corev1.ConfigMap, bool) {
			if _, ok := cluster.Get[*corev1.Secret](secrets, k.Namespace, k.Name); ok {
				return nil, false
			}
			return cluster.Get[*corev1.ConfigMap](maps, k.Namespace, k.Name)
		},
		Compute: func(m *corev1.ConfigMap, _ time.Time) plan.Plan { return compute(m) },
	})
}

func makeSecret(m *corev1.ConfigMap) plan.Plan {
	return plan.Plan{Do: []plan.Action{plan.Create{Object: &corev1.Secret{ObjectMeta: workbench.Meta(m.Name)}}}}
}

// The loop with its real queue, workers and clock.
func TestRunWorksUntilItIsToldToEnd(t *testing.T) {
	defer goleak.VerifyNone(t)
	api := workbench.NewAPI(clock.RealClock{})
	registry := prometheus.NewRegistry()
	metrics, err := loop.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	journal := &loop.Journal{}
	l := copies(loop.Deps{Log: zaptest.NewLogger(t), API: api, Clock: clock.RealClock{}, Journal: journal, Metrics: metrics}, makeSecret)
	records, stop := journal.Listen()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { api.Follow(ctx) })
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	for i := range 50 {
		api.Seed(configMap(fmt.Sprintf("m%d", i)))
	}
	seen := map[string]bool{}
	for len(seen) < 50 {
		r := <-records
		if r.Err != "" || !slices.Equal(r.Actions, []string{"create Secret " + r.Key}) {
			t.Fatalf("record %+v", r)
		}
		if seen[r.Key] {
			t.Fatalf("%s was made twice", r.Key)
		}
		seen[r.Key] = true
	}
	stop()
	if s := l.Status(); !s.Running || s.Controller != "copy-controller" || s.Failures != 0 {
		t.Fatalf("status %+v", s)
	}
	if err := loop.RegisterDepths(registry, []loop.Loop{l}); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry, "workqueue_depth", "coracle_controller_reconciles_total"); err != nil || n != 2 {
		t.Fatalf("%d metrics, %v", n, err)
	}
	cancel()
	wg.Wait()
	if l.Status().Running {
		t.Fatal("it says that it runs")
	}
}

func TestEndsBeforeItsCachesAreFilled(t *testing.T) {
	defer goleak.VerifyNone(t)
	api := workbench.NewAPI(clock.RealClock{})
	l := copies(loop.Deps{Log: zaptest.NewLogger(t), API: api, Clock: clock.RealClock{}}, makeSecret)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestBacksOffAndRemembersFailures(t *testing.T) {
	b := workbench.New(t, configMap("m"))
	broken := true
	b.Add(copies(b.Deps(), func(m *corev1.ConfigMap) plan.Plan {
		if broken {
			return plan.Plan{Err: errors.New("not yet")}
		}
		return makeSecret(m)
	}))
	b.Advance(time.Second)
	if got := b.Failing(); got["copy-controller default/m"] != "not yet" {
		t.Fatalf("failing: %v", got)
	}
	broken = false
	b.Advance(time.Hour)
	if got := b.Failing(); len(got) != 0 {
		t.Fatalf("failing: %v", got)
	}
	workbench.Get[*corev1.Secret](b, "default", "m")
}

func TestSurvivesAPanic(t *testing.T) {
	b := workbench.New(t, configMap("bad"), configMap("good"))
	b.Add(copies(b.Deps(), func(m *corev1.ConfigMap) plan.Plan {
		if m.Name == "bad" {
			panic("nobody thought of this")
		}
		return makeSecret(m)
	}))
	b.Settle()
	workbench.Get[*corev1.Secret](b, "default", "good")
	if got := b.Failing(); got["copy-controller default/bad"] != "panic: nobody thought of this" {
		t.Fatalf("failing: %v", got)
	}
}

func TestWaitsForItsOwnWrites(t *testing.T) {
	b := workbench.New(t, configMap("m"))
	looks := 0
	b.Add(copies(b.Deps(), func(m *corev1.ConfigMap) plan.Plan { looks++; return makeSecret(m) }))
	secrets := kinds.For[*corev1.Secret]()
	b.API.Hold(secrets, true)
	b.Settle()
	for range 3 {
		workbench.Change(b, "default", "m", func(m *corev1.ConfigMap) { m.Data = map[string]string{"look": m.ResourceVersion} })
		b.Settle()
	}
	if looks != 1 {
		t.Fatalf("looked %d times, though the cache does not show the write", looks)
	}
	b.API.Hold(secrets, false)
	b.Settle()
	if looks != 1 || len(b.Failing()) != 0 {
		t.Fatalf("looked %d times, failing %v", looks, b.Failing())
	}
	// A cache that never shows it is broken, and that is not waited for.
	b.API.Hold(secrets, true)
	workbench.Delete[*corev1.Secret](b, "default", "m")
	b.API.Seed(configMap("n"))
	b.Settle()
	workbench.Change(b, "default", "n", func(m *corev1.ConfigMap) { m.Data = map[string]string{"look": "again"} })
	b.Advance(4 * time.Minute)
	if looks != 2 {
		t.Fatalf("looked %d times", looks)
	}
	b.Advance(2 * time.Minute)
	if looks < 3 {
		t.Fatalf("looked %d times", looks)
	}
}

func TestASlowListenerIsCutOff(t *testing.T) {
	b := workbench.New(t)
	d := b.Deps()
	d.Journal = &loop.Journal{}
	records, stop := d.Journal.Listen()
	defer stop()
	b.Add(copies(d, makeSecret))
	for i := range 1000 {
		b.API.Seed(configMap(fmt.Sprint(i)))
	}
	b.Settle()
	n := 0
	for range records {
		n++
	}
	if n == 0 || n >= 1000 {
		t.Fatalf("%d records", n)
	}
}

func TestRequeue(t *testing.T) {
	b := workbench.New(t, configMap("m"))
	looks := 0
	l := copies(b.Deps(), func(*corev1.ConfigMap) plan.Plan { looks++; return plan.Plan{} })
	b.Add(l)
	b.Settle()
	if !l.Requeue("default/m") || l.Requeue("a/b/c") {
		t.Fatal("it takes what is a key, and nothing else")
	}
	b.Settle()
	if looks != 2 {
		t.Fatalf("looked %d times", looks)
	}
}
