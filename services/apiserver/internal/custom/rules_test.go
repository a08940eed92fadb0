package custom

import (
	"testing"

	"coracle.local/services/apiserver/internal/golden"
)

// TestRulesAreDropped: the rules of many definitions are not all kept, and are
// the same when they come back.
func TestRulesAreDropped(t *testing.T) {
	s := golden.Load[suite](t, "testdata/rules.yaml")
	before := rules.Len()
	d := compiledOf(t, s.Definition, Options{})
	v := d.versions[0]
	first := v.rules()
	if first == nil || v.rules() != first {
		t.Fatal("rules are compiled at each use")
	}
	rules.Remove(v)
	again := v.rules()
	if again == nil || again == first {
		t.Error("rules that were dropped did not come back")
	}
	if rules.Len() > before+1 {
		t.Errorf("%d sets of rules are kept for one definition", rules.Len()-before)
	}
	rules.Remove(v)

	if d, _, _ := things(t, Options{}); d.versions[0].rules() != nil || rules.Len() > before {
		t.Error("a definition without rules has some")
	}
}
