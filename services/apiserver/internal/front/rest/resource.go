package rest

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/rest/respond"
	"coracle.local/services/apiserver/internal/front/rest/surface"
	"coracle.local/services/apiserver/internal/strategy"
)

// resource routes a request about a resource.
func (c *call) resource() error {
	t := &c.t
	if c.Aggregate.ServeHTTP(c.w, c.r) {
		return nil
	}
	c.kind = c.Catalog.ByResource(schema.GroupVersionResource{Group: t.Group, Version: t.Version, Resource: t.Resource})
	if c.kind != nil && c.kind.Custom() {
		return c.custom()
	}
	if c.kind == nil {
		if slices.ContainsFunc(kinds.GroupVersions(), groupIs(t.Group)) {
			return respond.NotFound()
		}
		return c.extra()
	}
	switch {
	case strings.Contains(t.Path, "//"), t.Verb == "proxy":
		return respond.NotFound()
	case c.kind.Namespaced:
		c.namespace = t.Namespace
	case t.Namespace != "" && c.kind.Plural != "namespaces":
		return respond.NotFound()
	}
	switch {
	case t.Prefixed:
		return c.olderWatch()
	case t.Subresource != "":
		return c.subresource()
	case c.many():
		return c.collection()
	}
	return c.item()
}

// many tells whether the path names no object.
func (c *call) many() bool {
	switch c.t.Verb {
	case "list", "watch", "deletecollection":
		return true
	}
	return c.t.Name == ""
}

// inNamespace tells whether the path names a namespace where one is needed.
func (c *call) inNamespace() bool { return !c.kind.Namespaced || c.namespace != "" }

// collection serves the path of all objects, of a namespace or everywhere.
func (c *call) collection() error {
	switch {
	case !c.kind.Has("list") && !c.inNamespace():
		return respond.NotFound()
	case c.r.Method == http.MethodGet && c.kind.Has("list"):
		return c.handle(func() error { return c.listOrWatch("", false) })
	case c.r.Method == http.MethodPost && c.kind.Has("create") && c.inNamespace():
		return c.handle(c.create)
	case c.r.Method == http.MethodDelete && c.kind.Has("deletecollection") && c.inNamespace():
		return c.handle(c.deleteCollection)
	}
	return respond.MethodNotAllowed()
}

// handle warns of a deprecated kind where a handler takes the request.
func (c *call) handle(handler func() error) error {
	if s := c.Registry.Strategy(c.kind); s != nil && !c.kind.Custom() && s.Deprecation != "" && c.spoken() {
		c.warn([]string{s.Deprecation})
	}
	return handler()
}

// spoken tells whether there is a media type in the request's headers that
// upstream has a route for; in which shape is for the handler to judge.
func (c *call) spoken() bool {
	if c.r.Method == http.MethodPatch && !strings.Contains(c.r.Header.Get("Content-Type"), "patch+") {
		return false
	}
	accept := c.r.Header.Get("Accept")
	return accept == "" || slices.ContainsFunc([]string{"*/*", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"},
		func(known string) bool { return strings.Contains(accept, known) })
}

// item serves the path of one object.
func (c *call) item() error {
	if !c.inNamespace() || !c.kind.Has("get") {
		return respond.NotFound()
	}
	switch {
	case c.r.Method == http.MethodGet:
		return c.handle(c.get)
	case c.r.Method == http.MethodPut && c.kind.Has("update"):
		return c.handle(func() error { return c.replace("") })
	case c.r.Method == http.MethodPatch && c.kind.Has("patch"):
		return c.handle(func() error { return c.patch("") })
	case c.r.Method == http.MethodDelete && c.kind.Has("delete"):
		return c.handle(c.delete)
	}
	return respond.MethodNotAllowed()
}

func (c *call) subresource() error {
	s := surface.Of(c.kind, c.t.Subresource)
	if s == nil || !c.inNamespace() || (c.t.Rest != "" && !s.Path) {
		return respond.NotFound()
	}
	method := c.r.Method
	switch {
	case s.Form == surface.Change && s.Name == "scale":
		return c.scale()
	case s.Form == surface.Change && method == http.MethodGet:
		return c.get()
	case s.Form == surface.Change && method == http.MethodPatch:
		return c.patch(s.Name)
	case (s.Form == surface.Change || s.Form == surface.Replace) && method == http.MethodPut:
		return c.replace(s.Name)
	case s.Form == surface.Action && method == http.MethodPost:
		return c.act(s)
	case s.Form == surface.Read && method == http.MethodGet:
		return c.connect.Logs(c.w, c.r, c.namespace, c.t.Name, c.values)
	case s.Form == surface.Connect && slices.Contains(s.Methods, method):
		return c.through(s)
	}
	return respond.MethodNotAllowed()
}

// olderWatch serves paths that begin with "watch".
func (c *call) olderWatch() error {
	if !c.kind.Has("watch") || c.t.Subresource != "" || (c.t.Name != "" && !c.inNamespace()) {
		return respond.NotFound()
	}
	if c.r.Method != http.MethodGet {
		return respond.MethodNotAllowed()
	}
	return c.handle(func() error { return c.listOrWatch(c.t.Name, true) })
}

func groupIs(group string) func(schema.GroupVersion) bool {
	return func(gv schema.GroupVersion) bool { return gv.Group == group }
}

// selectableFields knows the fields that can be selected of each kind, from its
// strategy.
type selectableFields struct {
	registry Registry
	known    sync.Map // of *kinds.Kind to []string
}

func (f *selectableFields) of(k *kinds.Kind) []string {
	if known, ok := f.known.Load(k); ok {
		return known.([]string)
	}
	names := strategy.Selectable(k, f.registry.Strategy(k))
	if k.Custom() {
		if names == nil {
			names = []string{}
		}
		return names // the row is not for ever
	}
	f.known.Store(k, names)
	return names
}
