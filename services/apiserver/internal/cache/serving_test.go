package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"coracle.local/libs/kinds"
)

// thing is a custom resource without rules.
type thing struct{ unstructured.Unstructured }

func (o *thing) Reset()                                   { o.Object = map[string]any{} }
func (o *thing) GetObjectKind() schema.ObjectKind         { return o }
func (o *thing) Marshal() ([]byte, error)                 { return json.Marshal(o.Object) }
func (o *thing) MarshalToSizedBuffer([]byte) (int, error) { return 0, errors.New("not here") }
func (o *thing) Size() int                                { return 0 }
func (o *thing) Unmarshal(b []byte) error                 { o.Object = nil; return json.Unmarshal(b, &o.Object) }
func (o *thing) MarshalJSON() ([]byte, error)             { return json.Marshal(o.Object) }
func (o *thing) SetGroupVersionKind(gvk schema.GroupVersionKind) {
	if !gvk.Empty() {
		o.Unstructured.SetGroupVersionKind(gvk)
	}
}

func thingsOf(plural, version string) *kinds.Kind {
	return &kinds.Kind{
		Group: "example.com", Version: version, StorageVersion: version, Kind: "Thing", Plural: plural, Namespaced: true,
		Prefix: "example.com/" + plural, Definition: "something", New: func() kinds.Object { return &thing{} },
	}
}

func thingKey(plural, name string) string { return "/registry/example.com/" + plural + "/ns/" + name }

func thingValue(name string, n int) string {
	return fmt.Sprintf(`{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":%q,"namespace":"ns","uid":"u"},"spec":{"n":%d}}`+"\n", name, n)
}

// following runs a cache over a fake etcd, again whenever it breaks.
func following(t *testing.T) (*fakeEtcd, *Cache) {
	t.Helper()
	f, store := newFakeEtcd()
	c := New(store, func(*kinds.Kind) Behaviour { return Behaviour{} }, zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = c.Run(ctx)
		}
	}()
	t.Cleanup(func() { cancel(); f.sever(); <-done })
	<-c.Ready()
	return f, c
}

func numberOf(t *testing.T, i *Item) int {
	t.Helper()
	if i == nil {
		return -1
	}
	o, err := i.Decode()
	if err != nil {
		t.Fatal(err)
	}
	n, _, _ := unstructured.NestedFloat64(o.(*thing).Object, "spec", "n")
	return int(n)
}

// Kinds are added while their objects are written and the stream from etcd
// breaks: each ends up with the last state, and a watch from the beginning sees
// each change that came after once.
func TestAddLosesNothing(t *testing.T) {
	f, c := following(t)
	const kindsAdded, writes = 20, 200
	rows := make([]*kinds.Kind, kindsAdded)
	for n := range rows {
		rows[n] = thingsOf(fmt.Sprintf("things%d", n), "v1")
		f.put(thingKey(rows[n].Plural, "a"), thingValue("a", -2))
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range writes {
			for _, k := range rows {
				f.put(thingKey(k.Plural, "a"), thingValue("a", i))
			}
			if i%50 == 20 {
				f.sever()
			}
			if i%50 == 40 {
				f.forget()
			}
		}
	}()
	watches := make([]*Watch, kindsAdded)
	for n, k := range rows {
		if err := c.Add(t.Context(), Serving{Kind: k}); err != nil {
			t.Fatal(err)
		}
		var err error
		if watches[n], err = c.Watch(k, WatchOptions{Initial: true}); err != nil {
			t.Fatal(err)
		}
	}
	<-written
	last := f.put("/registry/configmaps/ns/end", "")
	if err := c.Reach(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	for n, k := range rows {
		if got := numberOf(t, c.Get(k, "ns", "a")); got != writes-1 {
			t.Errorf("%s: the last state is %d", k.Plural, got)
		}
		seen, revision := -3, int64(0)
		for watches[n].Pending() {
			e, err := watches[n].Next(t.Context())
			if err != nil {
				break
			}
			number := numberOf(t, e.Item)
			if e.Revision <= revision || (seen >= 0 && number != seen+1) || (revision > 0 && e.Type != watch.Modified) {
				t.Fatalf("%s: %s of %d at %d after %d at %d", k.Plural, e.Type, number, e.Revision, seen, revision)
			}
			seen, revision = number, e.Revision
		}
		watches[n].Close()
	}
}

func TestAddRefusesAnotherKindsPlace(t *testing.T) {
	_, c := following(t)
	k := thingsOf("things", "v1")
	if err := c.Add(t.Context(), Serving{Kind: k}); err != nil {
		t.Fatal(err)
	}
	taken, free := thingsOf("things", "v2"), thingsOf("others", "v1")
	if err := c.Add(t.Context(), Serving{Kind: free}, Serving{Kind: taken}); err == nil {
		t.Error("two kinds are in one place")
	}
	if _, err := c.Watch(free, WatchOptions{}); err == nil {
		t.Error("a kind is served that was not added")
	}
}

func TestReplaceShowsWhatIsThereInTheNewRow(t *testing.T) {
	f, c := following(t)
	f.put(thingKey("things", "a"), thingValue("a", 1))
	first, second := thingsOf("things", "v1"), thingsOf("things", "v2")
	if err := c.Add(t.Context(), Serving{Kind: first}); err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(first, WatchOptions{Initial: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Replace(first, Serving{Kind: second}); err != nil {
		t.Fatal(err)
	}
	if e, err := w.Next(t.Context()); err != nil || e.Type != watch.Added {
		t.Fatalf("%v, %v", e, err)
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("the watch goes on: %v", err)
	}
	if err := c.Reach(t.Context(), f.put(thingKey("things", "b"), thingValue("b", 2))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if i := c.Get(second, "ns", name); i == nil || i.Kind != second {
			t.Errorf("%s is %v", name, i)
		}
		if c.Get(first, "ns", name) == nil {
			t.Errorf("a request that began before does not find %s", name)
		}
	}
	if _, err := c.Watch(second, WatchOptions{After: 1}); err == nil {
		t.Error("changes of before are told in the new row")
	}
}

func TestRemove(t *testing.T) {
	f, c := following(t)
	k := thingsOf("things", "v1")
	f.put(thingKey("things", "a"), thingValue("a", 1))
	if err := c.Add(t.Context(), Serving{Kind: k}); err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(k, WatchOptions{Initial: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Remove(k)
	if e, err := w.Next(t.Context()); err != nil || e.Type != watch.Added {
		t.Fatalf("%v, %v", e, err)
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("the watch goes on: %v", err)
	}
	if c.Get(k, "ns", "a") != nil {
		t.Error("an object is still there")
	}
	again := thingsOf("things", "v1")
	if err := c.Add(t.Context(), Serving{Kind: again}); err != nil || c.Get(again, "ns", "a") == nil {
		t.Errorf("the kind cannot be added again: %v", err)
	}
}

// What cannot be read is not there, and does not hide what comes after.
func TestWhatIsNotReadableIsLeftOut(t *testing.T) {
	f, c := following(t)
	c.log = zap.NewNop()
	k := thingsOf("things", "v1")
	if err := c.Add(t.Context(), Serving{Kind: k}); err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(k, WatchOptions{After: c.Revision()})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{thingValue("a", 1), `{"apiVersion":"example.com/v1","kind":"Thing","meta`, thingValue("a", 2)} {
		f.put(thingKey("things", "a"), value)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Deleted, watch.Added} {
		if e, err := w.Next(t.Context()); err != nil || e.Type != want {
			t.Fatalf("%s, %v, want %s", e.Type, err, want)
		}
	}
}

func TestVersionsOfText(t *testing.T) {
	tests := []struct{ name, stored, shown string }{
		{"usual", `{"apiVersion":"a/v1","kind":"K","metadata":{"name":"n","uid":"u"},"spec":{}}`, `{"apiVersion":"a/v1","kind":"K","metadata":{"name":"n","resourceVersion":"7","uid":"u"},"spec":{}}`},
		{"metadata elsewhere", `{"data":{"metadata":{"uid":"x"}},"list":[{"metadata":{"uid":"x"}}],"metadata":{"a":"\"uid\"","uid":"u"}}`, `{"data":{"metadata":{"uid":"x"}},"list":[{"metadata":{"uid":"x"}}],"metadata":{"a":"\"uid\"","resourceVersion":"7","uid":"u"}}`},
		{"no UID", `{"metadata":{"name":"n"},"zz":{"uid":"u"}}`, `{"metadata":{"name":"n","resourceVersion":"7"},"zz":{"uid":"u"}}`},
		{"a version inside", `{"metadata":{"name":"n","resourceVersion":"3","uid":"u"}}`, `{"metadata":{"name":"n","resourceVersion":"7","uid":"u"}}`},
		{"nothing", `{}`, `{"metadata":{"resourceVersion":"7"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := NewItem(thingsOf("things", "v1"), "ns", "n", []byte(tt.stored+"\n"), 7, nil)
			if got := string(i.Frame()); got != tt.shown {
				t.Errorf("got  %s\nwant %s", got, tt.shown)
			}
			if stored := i.Stored(); stored != nil && string(stored) != tt.stored {
				t.Errorf("stored as %s", stored)
			}
			if got, want := string(i.at(9).Frame()), NewItem(i.Kind, "ns", "n", []byte(tt.stored), 9, nil).Frame(); got != string(want) {
				t.Errorf("later %s\nwant  %s", got, want)
			}
		})
	}
}

// An item is made once for each kind that shows it.
func TestItemsOfManyKinds(t *testing.T) {
	i := NewItem(thingsOf("things", "v1"), "ns", "n", []byte(thingValue("n", 1)), 7, nil)
	rows := []*kinds.Kind{thingsOf("things", "v2"), thingsOf("things", "v3"), thingsOf("things", "v4")}
	seen := map[*kinds.Kind]*Item{}
	for range 2 {
		for _, k := range rows {
			out, err := i.As(k, nil, nil)
			if err != nil || out.Kind != k || (seen[k] != nil && seen[k] != out) {
				t.Fatalf("%s: %v, %v", k.Version, out, err)
			}
			seen[k] = out
		}
	}
}
