// Package differential makes a corpus of requests, sends it to upstream's
// server and to ours, and tells where the answers differ.
package differential

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Script is a row of requests that are sent one after another; scripts are
// independent of each other and run side by side.
type Script struct {
	Name string `json:"name"`
	// Namespace is made before, with its default account; ${ns} names it.
	Namespace string `json:"namespace,omitempty"`
	Steps     []Step `json:"steps"`
}

// Step is one request. In Send, Body and the headers' values ${NAME} stands for
// what an earlier step kept.
type Step struct {
	Name string `json:"name,omitempty"`
	// Send is the method and the path with its query.
	Send   string            `json:"send"`
	Type   string            `json:"type,omitempty"`
	Accept string            `json:"accept,omitempty"`
	Header map[string]string `json:"header,omitempty"`
	// Body is sent as JSON, and a string as it is.
	Body any `json:"body,omitempty"`
	// From takes the body from what an earlier step kept, and Set changes it.
	From string `json:"from,omitempty"`
	Set  []Edit `json:"set,omitempty"`
	// Keep names parts of the answer for later steps; the empty path is all of it.
	Keep map[string]string `json:"keep,omitempty"`
	// Until repeats the request until the answer has the text: for what a server
	// does by and by.
	Until string `json:"until,omitempty"`
	// Quiet leaves the answer out of the comparison.
	Quiet bool `json:"quiet,omitempty"`
}

// Edit sets a field of an object, or removes it if there is no value. A path is
// such as spec/containers/0/image, with ~1 for a slash within a key.
type Edit struct {
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// apply returns a copy of object with the edits made.
func apply(object any, edits []Edit) (any, error) {
	object = clone(object)
	for _, e := range edits {
		var err error
		if object, err = set(object, splitPath(e.Path), clone(e.Value)); err != nil {
			return nil, fmt.Errorf("set %s: %w", e.Path, err)
		}
	}
	return object, nil
}

func splitPath(path string) []string {
	if path == "" {
		return nil
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts
}

// joinPath is the inverse of splitPath.
func joinPath(parts []string) string {
	escaped := make([]string, len(parts))
	for i, p := range parts {
		escaped[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~", "~0"), "/", "~1")
	}
	return strings.Join(escaped, "/")
}

// set changes in where it can and returns what in has become.
func set(in any, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch at := in.(type) {
	case nil:
		if value == nil {
			return nil, nil
		}
		if path[0] == "0" {
			return set([]any{}, path, value)
		}
		return set(map[string]any{}, path, value)
	case map[string]any:
		child, err := set(at[path[0]], path[1:], value)
		if err != nil {
			return nil, err
		}
		if child == nil {
			delete(at, path[0])
		} else {
			at[path[0]] = child
		}
		return at, nil
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i > len(at) {
			return nil, fmt.Errorf("no element %s", path[0])
		}
		if i == len(at) {
			at = append(at, nil)
		}
		if at[i], err = set(at[i], path[1:], value); err != nil {
			return nil, err
		}
		if at[i] == nil && len(path) == 1 {
			at = append(at[:i], at[i+1:]...)
		}
		return at, nil
	}
	return nil, fmt.Errorf("%T has no %s", in, path[0])
}

// at finds a part of an object, nil if it has none.
func at(object any, path ...string) any {
	for _, p := range path {
		switch o := object.(type) {
		case map[string]any:
			object = o[p]
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i >= len(o) {
				return nil
			}
			object = o[i]
		default:
			return nil
		}
	}
	return object
}

// clone copies what JSON consists of.
func clone(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	}
	return value
}

func compact(value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
