package aggregate

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
)

// openapi is what a server tells of the types and paths of a version.
type openapi struct {
	// v3 is where the document of version 3 is, with its hash; empty if the
	// server has none.
	v3 string
	// v2 is the whole document of version 2 as JSON, and v2tag its ETag.
	v2    []byte
	v2tag string
}

func (o *openapi) same(other *openapi) bool { return o.v3 == other.v3 && o.v2tag == other.v2tag }

// learnOpenAPI asks the server for its documents. One that has none is no worse
// for it.
func (r *remote) learnOpenAPI(ctx context.Context, next *knowledge) {
	name := strings.TrimPrefix(r.path(), "/")
	if a, err := r.get(ctx, "/openapi/v3", "application/json", ""); err == nil && a.code == http.StatusOK {
		var index struct {
			Paths map[string]struct {
				URL string `json:"serverRelativeURL"`
			} `json:"paths"`
		}
		if json.Unmarshal(a.body, &index) == nil {
			next.openapi.v3 = index.Paths[name].URL
		}
	}
	a, err := r.get(ctx, "/openapi/v2", "application/json", next.openapi.v2tag)
	if err == nil && a.code == http.StatusOK {
		next.openapi.v2, next.openapi.v2tag = a.body, a.header.Get("Etag")
	}
}

// OpenAPIV3 are the documents of version 3 that other servers have: where each
// is, by its name.
func (a *Aggregator) OpenAPIV3() map[string]string {
	if a == nil {
		return nil
	}
	var out map[string]string
	for _, r := range a.routes.Load().byVersion {
		if url := r.known.Load().openapi.v3; url != "" {
			if out == nil {
				out = map[string]string{}
			}
			out[strings.TrimPrefix(r.path(), "/")] = url
		}
	}
	return out
}

// OpenAPIV2 are the whole documents of version 2 of other servers, by the root
// of the paths in them that are to be shown.
func (a *Aggregator) OpenAPIV2() map[string][]byte {
	if a == nil {
		return nil
	}
	var out map[string][]byte
	for _, r := range a.routes.Load().byVersion {
		if raw := r.known.Load().openapi.v2; len(raw) > 0 {
			if out == nil {
				out = map[string][]byte{}
			}
			out[r.path()] = raw
		}
	}
	return out
}

// ServeOpenAPIV3 passes a request for a document of version 3 on to the server
// that has it; ok is false if there is none.
func (a *Aggregator) ServeOpenAPIV3(w http.ResponseWriter, r *http.Request, name string) (ok bool) {
	if a == nil {
		return false
	}
	for _, one := range a.routes.Load().byVersion {
		if strings.TrimPrefix(one.path(), "/") == name {
			one.forward(w, r)
			return true
		}
	}
	return false
}
