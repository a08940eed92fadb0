// Package catalog is what one server serves at the moment: the kinds of the
// table, and those that its CustomResourceDefinitions added. Reads take no lock.
package catalog

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/custom"
)

// Entry is one CustomResourceDefinition that is served.
type Entry struct {
	// Name is the definition's, PLURAL.GROUP.
	Name       string
	Definition *custom.Definition
	// Terminating says that the definition is going: nothing is created any
	// more.
	Terminating bool
}

// Catalog is the kinds of one server. The zero value has those of the table.
// Reads may come from everywhere, at any time.
type Catalog struct {
	mu        sync.Mutex // of writers
	now       atomic.Pointer[State]
	observers []func(*State)
}

// State is the catalog at a moment. It is never modified.
type State struct {
	// Generation grows with each change.
	Generation int64
	// Custom are the kinds of definitions, by group, then the newest version
	// first, then by name.
	Custom []*kinds.Kind

	entries    map[string]*Entry
	byResource map[schema.GroupVersionResource]*kinds.Kind
	byKind     map[schema.GroupVersionKind]*kinds.Kind
	groups     map[string]bool
}

var none = &State{}

// Now is the present state, for readers that must see several things at once.
func (c *Catalog) Now() *State {
	if s := c.now.Load(); s != nil {
		return s
	}
	return none
}

// ByResource finds a kind by its collection, nil if there is none.
func (c *Catalog) ByResource(r schema.GroupVersionResource) *kinds.Kind {
	return c.Now().ByResource(r)
}

// ByKind finds a kind by name, nil if there is none.
func (c *Catalog) ByKind(g schema.GroupVersionKind) *kinds.Kind { return c.Now().ByKind(g) }

// All are the kinds of the table, and then those of definitions.
func (c *Catalog) All() []*kinds.Kind { return c.Now().All() }

// HasGroup tells whether anything of a group is served.
func (c *Catalog) HasGroup(group string) bool { return c.Now().HasGroup(group) }

// Entry is the definition of a name, nil if it is not served.
func (c *Catalog) Entry(name string) *Entry { return c.Now().entries[name] }

// Terminating tells whether nothing of a kind can be created any more, because
// its definition is going.
func (c *Catalog) Terminating(k *kinds.Kind) bool {
	return c.Now().Terminating(k)
}

// Set serves a definition, in place of an earlier one of its name.
func (c *Catalog) Set(entries ...*Entry) {
	c.change(func(all map[string]*Entry) {
		for _, e := range entries {
			all[e.Name] = e
		}
	})
}

// Remove ends the service of a definition.
func (c *Catalog) Remove(name string) {
	c.change(func(all map[string]*Entry) { delete(all, name) })
}

// Observe calls f after each change, before the one who made it goes on. f must
// be quick. Call Observe before the first change.
func (c *Catalog) Observe(f func(*State)) { c.observers = append(c.observers, f) }

func (c *Catalog) change(f func(map[string]*Entry)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.Now()
	entries := make(map[string]*Entry, len(old.entries)+1)
	for name, e := range old.entries {
		entries[name] = e
	}
	f(entries)
	s := build(entries)
	s.Generation = old.Generation + 1
	c.now.Store(s)
	for _, observe := range c.observers {
		observe(s)
	}
}

// table are the groups and versions of the table. What is in it comes first, as
// upstream's: a definition adds nothing to a version of a built-in group.
var table = sync.OnceValues(func() (versions map[schema.GroupVersion]bool, groups map[string]bool) {
	versions, groups = map[schema.GroupVersion]bool{}, map[string]bool{}
	for _, gv := range kinds.GroupVersions() {
		versions[gv], groups[gv.Group] = true, true
	}
	return versions, groups
})

func build(entries map[string]*Entry) *State {
	s := &State{
		entries:    entries,
		byResource: make(map[schema.GroupVersionResource]*kinds.Kind, len(entries)),
		byKind:     make(map[schema.GroupVersionKind]*kinds.Kind, len(entries)),
		groups:     map[string]bool{},
	}
	builtIn, _ := table()
	for _, e := range entries {
		for _, k := range e.Definition.Kinds() {
			if builtIn[k.GroupVersion()] {
				continue
			}
			s.Custom = append(s.Custom, k)
			s.byResource[k.GroupVersionResource()] = k
			s.byKind[k.GroupVersionKind()] = k
			s.groups[k.Group] = true
		}
	}
	slices.SortFunc(s.Custom, func(a, b *kinds.Kind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group),
			version.CompareKubeAwareVersionStrings(b.Version, a.Version),
			cmp.Compare(a.Plural, b.Plural))
	})
	return s
}

// ByResource finds a kind by its collection, nil if there is none.
func (s *State) ByResource(r schema.GroupVersionResource) *kinds.Kind {
	if k := kinds.ByResource(r); k != nil {
		return k
	}
	return s.byResource[r]
}

// ByKind finds a kind by name, nil if there is none.
func (s *State) ByKind(g schema.GroupVersionKind) *kinds.Kind {
	if k := kinds.ByKind(g); k != nil {
		return k
	}
	return s.byKind[g]
}

// All are the kinds of the table, and then those of definitions.
func (s *State) All() []*kinds.Kind {
	if len(s.Custom) == 0 {
		return kinds.All()
	}
	return slices.Concat(kinds.All(), s.Custom)
}

// HasGroup tells whether anything of a group is served.
func (s *State) HasGroup(group string) bool {
	_, groups := table()
	return groups[group] || s.groups[group]
}

// Terminating tells whether nothing of a kind can be created any more.
func (s *State) Terminating(k *kinds.Kind) bool {
	if !k.Custom() {
		return false
	}
	e := s.entries[k.Plural+"."+k.Group]
	return e != nil && e.Terminating
}

// Entries are the served definitions, by name.
func (s *State) Entries() []*Entry {
	out := make([]*Entry, 0, len(s.entries))
	for _, e := range s.entries {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *Entry) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
