package custom

import (
	"sync"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/utils/lru"
)

// A compiled rule takes some 60 KiB, most of it a table of all functions that a
// rule may call: a few hundred definitions with a dozen rules each would take
// more than all else together. So only the rules of the definitions that were
// written to last are kept, of all servers of the process together; others are
// compiled anew, which takes a millisecond a rule.
const keptRules = 128

var rules = lru.New(keptRules)

// compileRules returns the way to the compiled rules of a version: nil if it
// has none.
func compileRules(v *version, structural func() (*structuralschema.Structural, error)) func() *cel.Validator {
	var once sync.Once
	has := false
	return func() *cel.Validator {
		s, err := structural()
		if err != nil || s == nil {
			return nil
		}
		var first *cel.Validator
		once.Do(func() {
			if first = newRules(s); first != nil {
				has = true
				rules.Add(v, first)
			}
		})
		if !has || first != nil {
			return first
		}
		if kept, ok := rules.Get(v); ok {
			return kept.(*cel.Validator)
		}
		again := newRules(s)
		rules.Add(v, again)
		return again
	}
}

func newRules(s *structuralschema.Structural) *cel.Validator {
	return cel.NewValidator(s, true, celconfig.PerCallLimit)
}
