package differential

import (
	"os"
	"strings"
	"testing"

	"coracle.local/libs/kinds"
)

// TestEveryKindTakesPart is about the corpus: no kind of the table is left out.
func TestEveryKindTakesPart(t *testing.T) {
	seeds, err := loadSeeds()
	if err != nil {
		t.Fatal(err)
	}
	have := map[*kinds.Kind]bool{}
	for _, s := range seeds {
		have[s.kind] = true
	}
	for _, k := range kinds.All() {
		if k.Has("create") && !have[k] {
			t.Errorf("no seed of %s", k.GroupVersionKind())
		}
	}
}

// TestDifferencesAreDocumented holds the document to the data.
func TestDifferencesAreDocumented(t *testing.T) {
	known, err := KnownDifferences()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	if table := Table(known); !strings.Contains(string(doc), table) {
		t.Errorf("docs/differences.md should have this table:\n%s", table)
	}
}

func TestSplitAndJoinPaths(t *testing.T) {
	for _, path := range []string{"", "a", "a/0/b", "labels/example.com~1key", "a~0b"} {
		if got := joinPath(splitPath(path)); got != path {
			t.Errorf("%q became %q", path, got)
		}
	}
}

func TestEdits(t *testing.T) {
	object := map[string]any{"a": []any{map[string]any{"b": "c"}}}
	for _, c := range []struct {
		name string
		edit Edit
		want string
	}{
		{"set", Edit{Path: "a/0/b", Value: "d"}, `{"a":[{"b":"d"}]}`},
		{"removed", Edit{Path: "a/0/b"}, `{"a":[{}]}`},
		{"appended", Edit{Path: "a/1", Value: 1.0}, `{"a":[{"b":"c"},1]}`},
		{"element removed", Edit{Path: "a/0"}, `{"a":[]}`},
		{"made on the way", Edit{Path: "x/0/y", Value: true}, `{"a":[{"b":"c"}],"x":[{"y":true}]}`},
		{"absent removed", Edit{Path: "x/y"}, `{"a":[{"b":"c"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := apply(object, []Edit{c.edit})
			if err != nil {
				t.Fatal(err)
			}
			if compact(got) != c.want {
				t.Errorf("got %s, want %s", compact(got), c.want)
			}
		})
	}
}
