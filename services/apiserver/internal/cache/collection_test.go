package cache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/libs/kinds"
)

func nodeOf(o kinds.Object) fields.Set {
	return fields.Set{nodeField: o.(*corev1.Pod).Spec.NodeName}
}

// pods is a collection under test; each change takes the next revision.
type pods struct {
	t *testing.T
	*collection
	revision int64
	now      time.Time
}

func newPods(t *testing.T) *pods {
	return &pods{t: t, collection: newCollection(kinds.For[*corev1.Pod](), Behaviour{Fields: nodeOf}), now: time.Unix(1e9, 0)}
}

func (p *pods) at() int64 { return p.revision }

func (p *pods) put(namespace, name, node string, l labels.Set) {
	p.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: l}, Spec: corev1.PodSpec{NodeName: node}}
	b, err := pod.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	p.revision++
	p.apply(NewItem(p.kind, namespace, name, b, p.revision, p.b.Fields), Key(namespace, name), p.revision, p.now)
}

func (p *pods) remove(namespace, name string) {
	p.revision++
	p.apply(nil, Key(namespace, name), p.revision, p.now)
}

func (p *pods) open(o WatchOptions) *Watch {
	p.t.Helper()
	w, err := p.watch(o, p.at)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(w.Close)
	return w
}

// seen drains what a watch has now.
func seen(t *testing.T, w *Watch) (out []string) {
	t.Helper()
	for w.Pending() {
		e, err := w.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		name := ""
		if e.Item != nil {
			name = e.Item.Name
		}
		out = append(out, fmt.Sprintf("%s %s@%d", e.Type, name, e.Revision))
	}
	return out
}

func expect(t *testing.T, w *Watch, want ...string) {
	t.Helper()
	if got := seen(t, w); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("saw %v, want %v", got, want)
	}
}

func node(name string) Selector {
	return Selector{Fields: fields.OneTermEqualSelector(nodeField, name)}
}

func TestWatchersOfANodeSeePodsComeAndGo(t *testing.T) {
	p := newPods(t)
	first, second := p.open(WatchOptions{Selector: node("n1")}), p.open(WatchOptions{Selector: node("n2")})
	pending := p.open(WatchOptions{Selector: node("")})
	p.put("d", "a", "", nil)
	p.put("d", "a", "n1", nil)
	p.put("d", "a", "n1", labels.Set{"x": "y"})
	p.remove("d", "a")
	expect(t, pending, "ADDED a@1", "DELETED a@2")
	expect(t, first, "ADDED a@2", "MODIFIED a@3", "DELETED a@4")
	expect(t, second)
}

func TestWatchByNamespaceNameAndLabel(t *testing.T) {
	p := newPods(t)
	inNamespace := p.open(WatchOptions{Selector: Selector{Namespace: "x"}})
	named := p.open(WatchOptions{Selector: Selector{Fields: fields.OneTermEqualSelector("metadata.name", "b")}})
	red, err := labels.Parse("color=red")
	if err != nil {
		t.Fatal(err)
	}
	labelled := p.open(WatchOptions{Selector: Selector{Labels: red}})
	p.put("x", "a", "", labels.Set{"color": "red"})
	p.put("y", "b", "", nil)
	p.put("x", "a", "", labels.Set{"color": "blue"})
	expect(t, inNamespace, "ADDED a@1", "MODIFIED a@3")
	expect(t, named, "ADDED b@2")
	expect(t, labelled, "ADDED a@1", "DELETED a@3")
}

func TestDeletedShowsTheLastStateAtItsOwnRevision(t *testing.T) {
	p := newPods(t)
	p.put("d", "a", "n1", labels.Set{"x": "y"})
	w := p.open(WatchOptions{After: 1})
	p.remove("d", "a")
	e, err := w.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	pod := e.Item.Object().(*corev1.Pod)
	if pod.ResourceVersion != "2" || pod.Labels["x"] != "y" {
		t.Errorf("deleted as %+v", pod.ObjectMeta)
	}
}

func TestInitialEventsThenChanges(t *testing.T) {
	p := newPods(t)
	p.put("b", "x", "", nil)
	p.put("a", "y", "", nil)
	w := p.open(WatchOptions{Initial: true, MarkInitialEnd: true})
	p.put("a", "z", "", nil)
	expect(t, w, "ADDED y@2", "ADDED x@1", "BOOKMARK @2", "ADDED z@3")
}

func TestResume(t *testing.T) {
	p := newPods(t)
	for i := range 5 {
		p.put("d", fmt.Sprint("p", i), "", nil)
	}
	expect(t, p.open(WatchOptions{After: 3}), "ADDED p3@4", "ADDED p4@5")
	// After a while, old changes are forgotten.
	p.now = p.now.Add(keepFor + time.Second)
	p.put("d", "new", "", nil)
	if _, err := p.watch(WatchOptions{After: 3}, p.at); !apierrors.IsResourceExpired(err) {
		t.Errorf("resuming before what is remembered: %v", err)
	}
	expect(t, p.open(WatchOptions{After: 5}), "ADDED new@6")
}

func TestPastIsBoundedInNumber(t *testing.T) {
	p := newPods(t)
	for range keepEvents + 10 {
		p.put("d", "p", "", nil)
	}
	if len(p.past) != keepEvents || p.floor != 10 {
		t.Errorf("%d events are kept, from %d", len(p.past), p.floor)
	}
}

func TestSlowWatcherIsCutOff(t *testing.T) {
	p := newPods(t)
	slow, quick := p.open(WatchOptions{}), p.open(WatchOptions{})
	for range maxQueue + 1 {
		p.put("d", "p", "", nil)
		if len(seen(t, quick)) != 1 {
			t.Fatal("a watcher that keeps up misses an event")
		}
	}
	if _, err := slow.Next(context.Background()); !apierrors.IsTooManyRequests(err) {
		t.Errorf("the slow watcher gets %v", err)
	}
}

func TestBookmarksCarryProgress(t *testing.T) {
	p := newPods(t)
	p.put("d", "a", "", nil)
	with, without := p.open(WatchOptions{After: 1, Bookmarks: true}), p.open(WatchOptions{After: 1})
	p.watchers.bookmark(1) // is nothing new
	p.watchers.bookmark(7)
	expect(t, with, "BOOKMARK @7")
	expect(t, without)
}

func TestResetCutsWatchersAndTellsObservers(t *testing.T) {
	p := newPods(t)
	var told []string
	p.observe = append(p.observe, func(i *Item, gone bool) { told = append(told, fmt.Sprint(i.Name, " ", gone)) })
	p.put("d", "a", "", nil)
	w := p.open(WatchOptions{After: 1})
	p.reset(nil, 9)
	if _, err := w.Next(context.Background()); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("got %v", err)
	}
	if fmt.Sprint(told) != "[a false a true]" {
		t.Errorf("observers were told %v", told)
	}
	if _, err := p.watch(WatchOptions{After: 8}, p.at); !apierrors.IsResourceExpired(err) {
		t.Errorf("resuming before the reset: %v", err)
	}
}

func TestClosedWatchIsForgotten(t *testing.T) {
	p := newPods(t)
	for _, s := range []Selector{{}, {Namespace: "d"}, node("n"), {Fields: fields.OneTermEqualSelector("metadata.name", "a")}} {
		w, err := p.watch(WatchOptions{Selector: s}, p.at)
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		if _, err := w.Next(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("a closed watch returns %v", err)
		}
	}
	p.watchers.each(func(w *Watch) { t.Errorf("a closed watch is still served: %+v", w.selector) })
	if n := len(p.watchers.byNode) + len(p.watchers.byName) + len(p.watchers.byNamespace); n > 0 {
		t.Errorf("%d empty indexes are kept", n)
	}
}

func TestListInOrderOfKeys(t *testing.T) {
	p := newPods(t)
	for _, at := range [][2]string{{"b", "1"}, {"a", "2"}, {"a", "1"}, {"c", "1"}} {
		p.put(at[0], at[1], "", nil)
	}
	list := func(s Selector, from string) (out []string) {
		p.list(s, from, p.at, func(i *Item) bool { out = append(out, i.key); return true })
		return out
	}
	for name, c := range map[string]struct {
		s    Selector
		from string
		want string
	}{
		"all":             {Selector{}, "", "[a/1 a/2 b/1 c/1]"},
		"of a namespace":  {Selector{Namespace: "a"}, "", "[a/1 a/2]"},
		"from a key on":   {Selector{}, "a/2", "[a/2 b/1 c/1]"},
		"after a key":     {Selector{}, "a/2\x00", "[b/1 c/1]"},
		"page of several": {Selector{Namespace: "a"}, "a/1\x00", "[a/2]"},
		"one by name":     {Selector{Namespace: "b", Fields: fields.OneTermEqualSelector("metadata.name", "1")}, "", "[b/1]"},
		"absent":          {Selector{Namespace: "nope"}, "", "[]"},
	} {
		if got := fmt.Sprint(list(c.s, c.from)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func BenchmarkFanOut(b *testing.B) {
	for _, watchers := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(watchers), func(b *testing.B) {
			p := newPods(&testing.T{})
			var open []*Watch
			for range watchers {
				w, err := p.watch(WatchOptions{}, p.at)
				if err != nil {
					b.Fatal(err)
				}
				open = append(open, w)
			}
			b.ReportAllocs()
			for b.Loop() {
				p.put("d", "p", "n", nil)
				for _, w := range open {
					if _, err := w.Next(context.Background()); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
