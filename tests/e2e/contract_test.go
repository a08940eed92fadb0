package e2e

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/client"
	apiv1 "coracle.local/proto/coracle/api/v1"
	"coracle.local/tests/fixture"
)

// The watch contract stands in proto/coracle/api/v1/api.proto; these tests hold
// the server to it.

const (
	added    = apiv1.EventType_EVENT_TYPE_ADDED
	modified = apiv1.EventType_EVENT_TYPE_MODIFIED
	deleted  = apiv1.EventType_EVENT_TYPE_DELETED
	bookmark = apiv1.EventType_EVENT_TYPE_BOOKMARK
)

type maps = client.Client[*corev1.ConfigMap]

func configMap(name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels}}
}

func bare(t *testing.T) (*fixture.Cluster, maps) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	return c, client.For[*corev1.ConfigMap](c.Conn)
}

func create(t *testing.T, c maps, name string, labels map[string]string) *corev1.ConfigMap {
	t.Helper()
	m, err := c.Create(context.Background(), configMap(name, labels))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func watchMaps(t *testing.T, c maps, o client.WatchOptions) *client.Watch[*corev1.ConfigMap] {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	o.Namespace = "default"
	w, err := c.Watch(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func next(t *testing.T, w *client.Watch[*corev1.ConfigMap], typ apiv1.EventType, name string) *corev1.ConfigMap {
	t.Helper()
	e, err := w.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if e.Type != typ || e.Object.Name != name {
		t.Fatalf("event %v %q, want %v %q", e.Type, e.Object.Name, typ, name)
	}
	return e.Object
}

func TestWatchOpensWithThePresentState(t *testing.T) {
	_, c := bare(t)
	create(t, c, "a", nil)
	last := create(t, c, "b", nil)
	w := watchMaps(t, c, client.WatchOptions{SendInitialEvents: true})
	next(t, w, added, "a")
	next(t, w, added, "b")
	mark := next(t, w, bookmark, "")
	if mark.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("the bookmark after the present state is not marked: %v", mark.ObjectMeta)
	}
	if revision(t, mark) < revision(t, last) {
		t.Errorf("bookmark at %s, before %s", mark.ResourceVersion, last.ResourceVersion)
	}
	create(t, c, "c", nil)
	next(t, w, added, "c")
}

func revision(t *testing.T, o metav1.Object) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWatchResumesAfterARevision(t *testing.T) {
	_, c := bare(t)
	a := create(t, c, "a", nil)
	create(t, c, "b", nil)
	if err := c.Delete(context.Background(), "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w := watchMaps(t, c, client.WatchOptions{ResourceVersion: a.ResourceVersion})
	b := next(t, w, added, "b")
	gone := next(t, w, deleted, "a")
	if revision(t, gone) <= revision(t, b) {
		t.Errorf("the deletion carries %s, not its own revision", gone.ResourceVersion)
	}
}

func TestSelectorThatStopsMatchingYieldsDeleted(t *testing.T) {
	_, c := bare(t)
	w := watchMaps(t, c, client.WatchOptions{LabelSelector: "color=red", SendInitialEvents: true})
	next(t, w, bookmark, "")
	create(t, c, "a", map[string]string{"color": "red"})
	next(t, w, added, "a")
	paint := func(color string) *corev1.ConfigMap {
		m, err := c.Patch(context.Background(), "default", "a", types.MergePatchType,
			fmt.Appendf(nil, `{"metadata":{"labels":{"color":%q}}}`, color), "")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	blue := paint("blue")
	gone := next(t, w, deleted, "a")
	if gone.Labels["color"] != "red" || gone.ResourceVersion != blue.ResourceVersion {
		t.Errorf("deleted as %v at %s, want the last matching state at %s", gone.Labels, gone.ResourceVersion, blue.ResourceVersion)
	}
	paint("green") // is not seen
	paint("red")
	next(t, w, added, "a")
}

func TestExpiredRevisionIsTyped(t *testing.T) {
	cfg := cluster.Config{Controllers: []string{"-*"}, DataDir: t.TempDir()}
	first := fixture.Start(t, cfg)
	old := create(t, client.For[*corev1.ConfigMap](first.Conn), "a", nil)
	create(t, client.For[*corev1.ConfigMap](first.Conn), "b", nil)
	first.Stop()
	// A server that was started again remembers nothing of before.
	c := client.For[*corev1.ConfigMap](fixture.Start(t, cfg).Conn)
	w := watchMaps(t, c, client.WatchOptions{ResourceVersion: old.ResourceVersion})
	if _, err := w.Recv(); !apierrors.IsResourceExpired(err) {
		t.Errorf("got %v", err)
	}
}

// TestNoGapAndNoDuplicate opens watches while objects are written without
// pause: what each sees must be one unbroken history of every object.
func TestNoGapAndNoDuplicate(t *testing.T) {
	_, c := bare(t)
	const objects, rounds, watchers = 5, 40, 8
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i := range objects {
		create(t, c, fmt.Sprint("m", i), nil)
	}
	var writers sync.WaitGroup
	for i := range objects {
		writers.Go(func() {
			for n := range rounds {
				if _, err := c.Patch(ctx, "default", fmt.Sprint("m", i), types.MergePatchType, fmt.Appendf(nil, `{"data":{"n":"%d"}}`, n), ""); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var readers sync.WaitGroup
	for range watchers {
		w, err := c.Watch(ctx, client.WatchOptions{Namespace: "default", SendInitialEvents: true})
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() { follow(t, w, objects, rounds-1) })
	}
	writers.Wait()
	readers.Wait()
}

// follow reads until every object reached its last value.
func follow(t *testing.T, w *client.Watch[*corev1.ConfigMap], objects, last int) {
	seen, value, done := map[string]uint64{}, map[string]int{}, 0
	for done < objects {
		e, err := w.Recv()
		if err != nil {
			t.Error(err)
			return
		}
		if e.Type == bookmark {
			continue
		}
		at, err := strconv.ParseUint(e.Object.ResourceVersion, 10, 64)
		if err != nil || at <= seen[e.Object.Name] {
			t.Errorf("%s at %s after %d (%v)", e.Object.Name, e.Object.ResourceVersion, seen[e.Object.Name], err)
			return
		}
		n, err := strconv.Atoi(e.Object.Data["n"])
		if err != nil {
			n = -1 // not written yet
		}
		if before, known := value[e.Object.Name]; known && n != before+1 {
			t.Errorf("%s jumps from %d to %d", e.Object.Name, before, n)
			return
		}
		seen[e.Object.Name], value[e.Object.Name] = at, n
		if n == last {
			done++
		}
	}
}

// TestSlowReaderIsCutOffAndHindersNobody fills one watcher that does not read:
// others see every event, and the slow one is told to begin again.
func TestSlowReaderIsCutOffAndHindersNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("writes tens of thousands of events")
	}
	_, c := bare(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	create(t, c, "busy", nil)
	slow := watchMaps(t, c, client.WatchOptions{SendInitialEvents: true})
	quick := watchMaps(t, c, client.WatchOptions{SendInitialEvents: true})
	next(t, slow, added, "busy")

	const writes = 300
	payload := make([]byte, 100<<10) // so that few events fill the connection
	go func() {
		for n := range writes {
			m := configMap("busy", map[string]string{"n": strconv.Itoa(n)})
			m.BinaryData = map[string][]byte{"p": payload}
			if _, err := c.Update(ctx, m); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for {
		e, err := quick.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if e.Object.Labels["n"] == strconv.Itoa(writes-1) {
			break
		}
	}
	// The slow one reads on where it was, in order and without a gap, or is
	// told in a typed error that it was cut off.
	for want := 0; want < writes; {
		e, err := slow.Recv()
		if apierrors.IsTooManyRequests(err) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == modified {
			if e.Object.Labels["n"] != strconv.Itoa(want) {
				t.Fatalf("event %s, want %d", e.Object.Labels["n"], want)
			}
			want++
		}
	}
}
