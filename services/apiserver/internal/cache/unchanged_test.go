package cache

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

func configMaps(t *testing.T, names ...string) *collection {
	t.Helper()
	k := kinds.For[*corev1.ConfigMap]()
	c := newCollection(k, Behaviour{})
	for n, name := range names {
		message, err := (&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		i := NewItem(k, "n", name, message, int64(n+1), nil)
		c.apply(i, i.key, i.Revision, time.Time{})
	}
	return c
}

func TestUnchangedPages(t *testing.T) {
	c := configMaps(t, "a", "b", "c", "d") // revisions 1 to 4
	seen := func() int64 { return 10 }
	for name, test := range map[string]struct {
		from            string
		revision, limit int64
		want            string
		rest            int64
		ok              bool
	}{
		"first page":              {"", 4, 2, "[a b]", 2, true},
		"next page, later still":  {"n/b\x00", 9, 1, "[c]", 1, true},
		"no limit":                {"n/b\x00", 4, 0, "[c d]", 0, true},
		"changed since":           {"", 3, 2, "[]", 0, false},
		"not seen yet":            {"", 11, 2, "[]", 0, false},
		"nothing after the start": {"n/d\x00", 4, 2, "[]", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			items, rest, ok := c.unchanged("n", test.from, test.revision, test.limit, seen)
			names := []string{}
			for _, i := range items {
				names = append(names, i.Name)
			}
			if fmt.Sprint(names) != test.want || rest != test.rest || ok != test.ok {
				t.Errorf("%v, %d follow, %t", names, rest, ok)
			}
		})
	}
}
