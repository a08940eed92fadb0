package recent

import (
	"testing"
	"time"
)

func TestCache(t *testing.T) {
	now := time.Unix(1000, 0)
	c := New[int, string](2)
	c.Put(1, "one", now.Add(time.Minute))
	if v, ok := c.Get(1, now); !ok || v != "one" {
		t.Errorf("got %q %v", v, ok)
	}
	if _, ok := c.Get(1, now.Add(time.Minute)); ok {
		t.Error("an entry outlived its end")
	}
	for i := 2; i < 6; i++ {
		c.Put(i, "more", now.Add(time.Minute))
		if _, ok := c.Get(1, now); !ok {
			t.Fatalf("an entry in use was forgotten after %d", i)
		}
	}
	for i := 10; i < 20; i++ {
		c.Put(i, "many", now.Add(time.Minute))
	}
	if _, ok := c.Get(1, now); ok {
		t.Error("an unused entry was kept")
	}
	if n := len(c.young) + len(c.old); n > 4 {
		t.Errorf("%d entries", n)
	}
}
