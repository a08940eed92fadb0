package definitions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/catalog"
	"coracle.local/services/apiserver/internal/custom"
)

// serve makes definitions those that are served under their names. What is
// served already is left alone unless spec or names changed: it ends watches.
func (c *Controller) serve(ctx context.Context, all ...definition) error {
	var errs []error
	var entries []*catalog.Entry
	var added []cache.Serving
	made := map[string]*serving{}
	for _, d := range all {
		s, err := c.serving(d)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		old := c.served[d.Name]
		switch {
		case old != nil && old.uid == s.uid && old.generation == s.generation && old.names == s.names:
			if old.entry.Terminating == s.entry.Terminating {
				continue
			}
			s.entry.Definition = old.entry.Definition
		case old != nil:
			if err := c.Cache.Replace(old.entry.Definition.Storage(), of(s)); err != nil {
				errs = append(errs, err)
				continue
			}
		default:
			added = append(added, of(s))
		}
		made[d.Name] = s
		entries = append(entries, s.entry)
	}
	if len(added) > 0 {
		if err := c.Cache.Add(ctx, added...); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	for name, s := range made {
		c.served[name] = s
	}
	if len(entries) > 0 {
		c.Catalog.Set(entries...)
	}
	return errors.Join(errs...)
}

func of(s *serving) cache.Serving {
	d := s.entry.Definition
	return cache.Serving{Kind: d.Storage(), Behaviour: cache.Behaviour{Fields: d.Strategy(d.Storage()).Fields}}
}

// serving makes ready what serving a definition takes. Its schemas stay in the
// encoded form that the cache has, until they are needed.
func (c *Controller) serving(d definition) (*serving, error) {
	names, err := json.Marshal(d.Status.AcceptedNames)
	if err != nil {
		return nil, err
	}
	s := &serving{
		uid: string(d.UID), generation: d.Generation, names: string(names),
		entry: &catalog.Entry{
			Name:        d.Name,
			Terminating: d.DeletionTimestamp != nil || is(&d.Status, apiextensionsv1.Terminating),
		},
	}
	if old := c.served[d.Name]; old != nil && old.uid == s.uid && old.generation == s.generation && old.names == s.names {
		return s, nil // nothing to compile
	}
	accepted := d.Status.AcceptedNames
	item := c.Cache.Get(c.kind, "", d.Name)
	if item == nil {
		return nil, fmt.Errorf("definition %s is gone", d.Name)
	}
	s.entry.Definition, err = custom.Compile(d, custom.Options{
		Hooks: c.Hooks,
		Load: func() definition {
			again, ok := item.Object().(definition)
			if !ok {
				return d
			}
			again.Status.AcceptedNames = accepted
			return again
		},
	})
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", d.Name, err)
	}
	return s, nil
}

// end takes away what a definition served that is gone.
func (c *Controller) end(name string) {
	group := c.claims[name].group
	delete(c.claims, name)
	delete(c.ending, name)
	if s := c.served[name]; s != nil {
		delete(c.served, name)
		c.Catalog.Remove(name)
		c.Cache.Remove(s.entry.Definition.Storage())
	}
	c.reconsider(name, group)
}
