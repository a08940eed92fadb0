package app

import (
	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/cache"
)

// reader shows the cache to authentication, authorization and admission.
type reader struct{ cache *cache.Cache }

func (r reader) Get(k *kinds.Kind, namespace, name string) (kinds.Object, bool) {
	i := r.cache.Get(k, namespace, name)
	if i == nil {
		return nil, false
	}
	return i.Object(), true
}

func (r reader) List(k *kinds.Kind, namespace string) []kinds.Object {
	var out []kinds.Object
	r.cache.List(k, cache.Selector{Namespace: namespace}, "", func(i *cache.Item) bool {
		out = append(out, i.Object())
		return true
	})
	return out
}

// observe keeps an index of authorization up to date.
func observe(c *cache.Cache, o auth.Observer) {
	for _, k := range o.Watches() {
		c.Observe(k, func(i *cache.Item, gone bool) {
			change := auth.Change{Kind: k, Namespace: i.Namespace, Name: i.Name}
			if !gone {
				change.Fields, change.Object = i.Fields(), i.Object
			}
			o.Observe(change)
		})
	}
}
