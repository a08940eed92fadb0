package workbench

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
)

// beyond is the kinds that a test adds to the table's.
type beyond struct {
	indexes   map[string]cache.IndexFunc
	listeners []func(k *kinds.Kind, before, after kinds.Object)
	found     []func(k *kinds.Kind)
	unsettled bool
}

// Custom returns the row of a kind that is not in the table.
func Custom(kind, plural string, namespaced bool) *kinds.Kind {
	k := &kinds.Kind{
		Group: "example.com", Version: "v1", Kind: kind, Plural: plural, Namespaced: namespaced,
		Verbs: []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
	}
	k.New = func() kinds.Object {
		return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: k.APIVersion(), Kind: k.Kind}}
	}
	return k
}

// Extend serves a kind from now on.
func (a *API) Extend(k *kinds.Kind) {
	a.Kinds = append(a.Kinds, k)
	c := a.Cache(k)
	for name, keys := range a.beyond.indexes {
		c.Index(name, keys)
	}
	c.OnChange(func(before, after kinds.Object) {
		for _, l := range a.beyond.listeners {
			l(k, before, after)
		}
	})
	for _, l := range a.beyond.found {
		l(k)
	}
}

// Unsettle has the kinds beyond the table look as if they were not all known.
func (a *API) Unsettle(unsettled bool) { a.beyond.unsettled = unsettled }

// Discover implements cluster.Calls.
func (a *API) Discover(context.Context) ([]*kinds.Kind, error) {
	return slices.Clone(a.Kinds), a.DiscoveryErr
}

// Extensions implements cluster.API.
func (a *API) Extensions() cluster.Extensions { return (*extensions)(a) }

type extensions API

func (e *extensions) Index(name string, keys cache.IndexFunc) {
	if e.beyond.indexes == nil {
		e.beyond.indexes = map[string]cache.IndexFunc{}
	}
	e.beyond.indexes[name] = keys
	for _, k := range e.Kinds {
		(*API)(e).Cache(k).Index(name, keys)
	}
}

func (e *extensions) OnChange(l func(k *kinds.Kind, before, after kinds.Object)) {
	e.beyond.listeners = append(e.beyond.listeners, l)
}

func (e *extensions) OnKind(l func(k *kinds.Kind)) { e.beyond.found = append(e.beyond.found, l) }

func (e *extensions) Caches() []cluster.Cache {
	var out []cluster.Cache
	for _, k := range e.Kinds {
		out = append(out, (*API)(e).Cache(k))
	}
	return out
}

func (e *extensions) Reads() []cluster.Cache { return nil }

func (e *extensions) Settled() bool { return !e.beyond.unsettled }
