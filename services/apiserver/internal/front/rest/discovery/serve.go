package discovery

import (
	"net/http"
	"strings"

	"github.com/munnerz/goautoneg"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/rest/respond"
)

const aggregatedParameters = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// Serve answers the discovery path of a request. ok is false, and nothing is
// written, if there is nothing at the path.
func (d *Documents) Serve(p *respond.Responder, w http.ResponseWriter, r *http.Request) (ok bool) {
	path := strings.Trim(r.URL.Path, "/")
	group, version, _ := strings.Cut(strings.TrimPrefix(path, "apis/"), "/")
	var kind string
	var document runtime.Object
	switch {
	case path == "api":
		if d.aggregated(p, w, r, d.all().core) {
			return true
		}
		kind, document = "APIVersions", d.apiVersions()
	case path == "apis":
		if d.aggregated(p, w, r, d.all().rest) {
			return true
		}
		kind, document = "APIGroupList", &metav1.APIGroupList{Groups: d.all().groups}
	case strings.HasPrefix(path, "api/"):
		kind, document = d.resources(schema.GroupVersion{Version: strings.TrimPrefix(path, "api/")})
	case version == "":
		kind, document = d.group(group)
	default:
		kind, document = d.resources(schema.GroupVersion{Group: group, Version: version})
	}
	if document == nil {
		return false
	}
	gvk := schema.GroupVersionKind{Version: "v1", Kind: kind}
	if path == "api" || path == "api/v1" {
		gvk.Version = "" // as old clients know it
	}
	o, err := negotiate.Accept(r, negotiate.Plain)
	if err == nil {
		err = p.Object(w, r, o, http.StatusOK, gvk, document)
	}
	if err != nil {
		p.Error(w, r, err)
	}
	return true
}

func (d *Documents) apiVersions() *metav1.APIVersions {
	out := &metav1.APIVersions{}
	for _, gv := range d.all().coreVersions() {
		out.Versions = append(out.Versions, gv.Version)
	}
	out.ServerAddressByClientCIDRs = []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: d.address()}}
	return out
}

func (d *Documents) group(name string) (string, runtime.Object) {
	for _, g := range d.all().groups {
		if g.Name == name {
			return "APIGroup", &g
		}
	}
	return "", nil
}

func (d *Documents) resources(gv schema.GroupVersion) (string, runtime.Object) {
	list, ok := d.all().resources[gv]
	if !ok {
		return "", nil
	}
	return "APIResourceList", &metav1.APIResourceList{GroupVersion: gv.String(), APIResources: list}
}

// aggregated answers with everything in one document to clients that prefer it.
func (d *Documents) aggregated(p *respond.Responder, w http.ResponseWriter, r *http.Request, a aggregated) bool {
	e, ok := prefersAggregated(r.Header.Get("Accept"))
	if !ok {
		return false
	}
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Etag", a.etag)
	w.Header().Set("Cache-Control", "public")
	if r.Header.Get("If-None-Match") == a.etag {
		w.WriteHeader(http.StatusNotModified)
		return true
	}
	gvk := apidiscoveryv2.SchemeGroupVersion.WithKind("APIGroupDiscoveryList")
	content, err := respond.Marshal(negotiate.Output{Encoding: e}, gvk, a.list.DeepCopy())
	if err != nil {
		p.Error(w, r, err)
		return true
	}
	p.Content(w, r, e.MediaType()+aggregatedParameters, http.StatusOK, content)
	return true
}

// prefersAggregated finds whether the first clause that can be served asks for
// the aggregated document.
func prefersAggregated(accept string) (negotiate.Encoding, bool) {
	if !strings.Contains(accept, "APIGroupDiscoveryList") {
		return negotiate.JSON, false
	}
	for _, c := range goautoneg.ParseAccept(accept) {
		for _, e := range []negotiate.Encoding{negotiate.JSON, negotiate.YAML, negotiate.Protobuf} {
			if c.Type+"/"+c.SubType != e.MediaType() {
				continue
			}
			if c.Params["as"] == "APIGroupDiscoveryList" && c.Params["g"] == "apidiscovery.k8s.io" && c.Params["v"] == "v2" {
				return e, true
			}
			if c.Params["as"] == "" {
				return e, false
			}
		}
	}
	return negotiate.JSON, false
}

// coreVersions are the versions of the core group.
func (d *documents) coreVersions() (out []schema.GroupVersion) {
	for _, g := range d.core.list.Items {
		for _, v := range g.Versions {
			out = append(out, schema.GroupVersion{Version: v.Version})
		}
	}
	return out
}
