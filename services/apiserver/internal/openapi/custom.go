package openapi

import (
	"cmp"
	"crypto/sha512"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// The extensions of a document's encodings.
const (
	asJSON  = ".json.gz"
	asProto = ".pb.gz"
)

// customs are the documents with custom resources, for one set of definitions.
// Nothing is built before it is asked for.
type customs struct {
	definitions []*fragment
	groups      map[string]*group // apis/GROUP/VERSION
	hash        string
	v2          func(extension string) ([]byte, error)
}

// Source is a definition to publish.
type Source struct {
	// CRD is the definition; it may lack its schemas.
	CRD *apiextensionsv1.CustomResourceDefinition
	// Whole returns the definition with its schemas.
	Whole func() *apiextensionsv1.CustomResourceDefinition
}

// fragment is what one definition adds to the document of version 2.
type fragment struct {
	name string
	mark string
	made func(extension string) ([]byte, error)
}

// group is the version 3 document of a group version.
type group struct {
	hash string
	made func(extension string) ([]byte, error)
}

// snapshot is a set of definitions, of which nothing was made yet.
type snapshot struct {
	sources func() []Source
	before  *customs
	once    sync.Once
	made    atomic.Pointer[customs]
}

// Set publishes the definitions that sources returns, and no others, from now
// on: those that are established, in any order. It is called once, when
// somebody asks for a document. Documents of definitions that were published
// already are kept.
func (d *Documents) Set(sources func() []Source) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &snapshot{sources: sources}
	if old := d.snapshot.Load(); old != nil {
		if s.before = old.made.Load(); s.before == nil {
			s.before = old.before
		}
	}
	d.snapshot.Store(s)
}

// customs are the documents at the moment; nil if there are no definitions.
func (d *Documents) customs() *customs {
	s := d.snapshot.Load()
	if s == nil {
		return nil
	}
	s.once.Do(func() {
		s.made.Store(newCustoms(d.index().hashes["v2"], s.sources(), s.before))
	})
	if c := s.made.Load(); len(c.definitions) > 0 {
		return c
	}
	return nil
}

func newCustoms(builtIn string, sources []Source, before *customs) *customs {
	c := &customs{groups: map[string]*group{}}
	byVersion := map[string][]Source{}
	sources = slices.Clone(sources)
	slices.SortFunc(sources, func(a, b Source) int { return cmp.Compare(a.CRD.Name, b.CRD.Name) })
	marks := []string{builtIn}
	for _, source := range sources {
		f := before.fragment(source)
		c.definitions = append(c.definitions, f)
		marks = append(marks, f.mark)
		for _, v := range source.CRD.Spec.Versions {
			if name := "apis/" + source.CRD.Spec.Group + "/" + v.Name; v.Served {
				byVersion[name] = append(byVersion[name], source)
			}
		}
	}
	for name, sources := range byVersion {
		c.groups[name] = before.group(name, sources)
	}
	c.hash = hashOf(marks)
	c.v2 = each(c.build2)
	return c
}

// mark is another one whenever a definition's documents are.
func mark(crd *apiextensionsv1.CustomResourceDefinition) string {
	return fmt.Sprintf("%s/%s/%d", crd.Name, crd.UID, crd.Generation)
}

func hashOf(marks []string) string {
	return fmt.Sprintf("%X", sha512.Sum512([]byte(strings.Join(marks, "\n"))))
}

// fragment is that of a definition, as it was if it was there.
func (c *customs) fragment(source Source) *fragment {
	name, m := source.CRD.Name, mark(source.CRD)
	if c != nil {
		i, ok := slices.BinarySearchFunc(c.definitions, name, func(f *fragment, name string) int { return cmp.Compare(f.name, name) })
		if ok && c.definitions[i].mark == m {
			return c.definitions[i]
		}
	}
	return &fragment{name: name, mark: m, made: each(func(extension string) ([]byte, error) { return build2(source.Whole(), extension) })}
}

func (c *customs) group(name string, sources []Source) *group {
	marks := []string{name}
	for _, source := range sources {
		marks = append(marks, mark(source.CRD))
	}
	hash := hashOf(marks)
	if c != nil {
		if g := c.groups[name]; g != nil && g.hash == hash {
			return g
		}
	}
	version := name[strings.LastIndexByte(name, '/')+1:]
	return &group{hash, each(func(extension string) ([]byte, error) { return build3(sources, version, extension) })}
}
