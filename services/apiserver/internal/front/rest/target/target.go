// Package target reads from a request's method and path what it asks for: the
// verb, and the resource, object and subresource it is about.
package target

import (
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Target is what a request asks for. It is computed once a request.
type Target struct {
	// IsResource tells whether the request is about a resource; if not, only
	// Path and Verb, the method in lower case, are set.
	IsResource bool
	Path       string
	Verb       string

	Group, Version            string
	Namespace, Resource, Name string
	Subresource               string
	// Rest is what follows the subresource, without a slash before it.
	Rest string
	// Prefixed tells that the path began with "watch" (or the long gone
	// "proxy"): an older way to name the verb.
	Prefixed bool

	// FieldSelector and LabelSelector are as in the query, for verbs that
	// select.
	FieldSelector, LabelSelector string
}

// Parse reads a request. Paths that cannot be told to be of a resource are not.
func Parse(r *http.Request) Target {
	t := Target{Path: r.URL.Path, Verb: strings.ToLower(r.Method)}
	group, version, rest, ok := split(r.URL.Path)
	if !ok {
		return t
	}
	t.Group, t.Version = group, version
	parts := strings.Split(rest, "/")
	if parts[0] == "watch" || parts[0] == "proxy" {
		if len(parts) < 2 {
			return Target{Path: t.Path, Verb: t.Verb}
		}
		t.Verb, t.Prefixed = parts[0], true
		parts = parts[1:]
	} else {
		t.Verb = verb(r.Method)
	}
	t.IsResource = true
	if parts[0] == "namespaces" && len(parts) > 1 {
		t.Namespace = parts[1]
		if len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
			parts = parts[2:]
		}
	}
	t.Resource = parts[0]
	if len(parts) > 1 {
		t.Name = parts[1]
	}
	if len(parts) > 2 && t.Verb != "proxy" {
		t.Subresource = parts[2]
		t.Rest = strings.Join(parts[3:], "/")
	}
	t.collective(r.URL)
	return t
}

// split cuts /api/VERSION/... or /apis/GROUP/VERSION/...; a path that ends
// before a resource is none of one.
func split(path string) (group, version, rest string, ok bool) {
	path = strings.Trim(path, "/")
	switch {
	case strings.HasPrefix(path, "api/"):
		path = path[len("api/"):]
	case strings.HasPrefix(path, "apis/"):
		if group, path, ok = strings.Cut(path[len("apis/"):], "/"); !ok {
			return "", "", "", false
		}
	default:
		return "", "", "", false
	}
	version, rest, ok = strings.Cut(path, "/")
	return group, version, rest, ok && rest != ""
}

func verb(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodGet, http.MethodHead:
		return "get"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return ""
}

// collective turns the verbs of requests that name no object into those for
// many, and notes what these select.
func (t *Target) collective(u *url.URL) {
	if t.Name != "" || (t.Verb != "get" && t.Verb != "delete" && t.Verb != "watch") {
		return
	}
	if t.Verb == "delete" {
		t.Verb = "deletecollection"
	}
	var query url.Values
	if u.RawQuery != "" {
		query = u.Query()
	}
	if t.Verb == "get" {
		t.Verb = "list"
		if asks(query, "watch") {
			t.Verb = "watch"
		}
		t.single(query.Get("fieldSelector"))
	}
	if !t.Prefixed {
		t.FieldSelector, t.LabelSelector = query.Get("fieldSelector"), query.Get("labelSelector")
	}
}

// single makes a list that selects one name a request for that object, so that
// whoever may read one object may also watch it.
func (t *Target) single(selector string) {
	if selector == "" {
		return
	}
	s, err := fields.ParseSelector(selector)
	if err != nil {
		return
	}
	if name, ok := s.RequiresExactMatch("metadata.name"); ok && len(content.IsPathSegmentName(name)) == 0 {
		t.Name = name
	}
}

// asks reads a switch of the query as upstream does: anything but false and 0
// turns it on.
func asks(query url.Values, name string) bool {
	values, ok := query[name]
	if !ok || len(values) == 0 {
		return false
	}
	switch strings.ToLower(values[0]) {
	case "false", "0":
		return false
	}
	return true
}

// Attributes are what authorization judges; the user is for the caller to add.
func (t *Target) Attributes() authorizer.AttributesRecord {
	a := authorizer.AttributesRecord{
		Verb: t.Verb, Namespace: t.Namespace, APIGroup: t.Group, APIVersion: t.Version,
		Resource: t.Resource, Subresource: t.Subresource, Name: t.Name,
		ResourceRequest: t.IsResource, Path: t.Path,
	}
	if t.FieldSelector != "" {
		s, err := fields.ParseSelector(t.FieldSelector)
		if err != nil {
			a.FieldSelectorParsingErr = err
		} else {
			a.FieldSelectorRequirements = s.Requirements()
		}
	}
	if t.LabelSelector != "" {
		s, err := labels.Parse(t.LabelSelector)
		if err != nil {
			a.LabelSelectorParsingErr = err
		} else {
			a.LabelSelectorRequirements, _ = s.Requirements()
		}
	}
	return a
}
