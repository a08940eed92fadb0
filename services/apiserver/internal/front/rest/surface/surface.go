// Package surface tells what can be asked of each kind over HTTP beyond the
// table of kinds: the form of its subresources, and what deletion answers.
// Routes, discovery and the OpenAPI documents all follow it.
package surface

import (
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
)

// Form is how a subresource is used.
type Form int

const (
	// Change reads and writes the object itself: GET, PUT and PATCH.
	Change Form = iota
	// Replace only writes it: PUT.
	Replace
	// Action takes another object by POST and acts on the named one.
	Action
	// Read answers GET with a stream of bytes.
	Read
	// Connect opens a stream in both directions, or forwards a request.
	Connect
)

// Subresource is one of a kind's subresources. Values are shared.
type Subresource struct {
	Name string
	Form Form
	// Kind is what is sent and answered; it may be of another group.
	Kind schema.GroupVersionKind
	// New returns an empty object of that kind, nil where it is the parent's.
	New func() runtime.Object
	// Options returns what the query parameters fill; nil without any.
	Options func() runtime.Object
	// Verbs are discovery's, sorted.
	Verbs []string
	// Methods of Connect.
	Methods []string
	// Path tells that a path may follow, to be forwarded.
	Path bool
	// Untabled tells that no table is made of its answers.
	Untabled bool
}

var (
	changeVerbs = []string{"get", "patch", "update"}
	streamVerbs = []string{"create", "get"}
	proxyVerbs  = []string{"create", "delete", "get", "patch", "update"}

	streamMethods = []string{http.MethodGet, http.MethodPost}
	proxyMethods  = []string{
		http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodHead, http.MethodOptions,
	}
)

// Of returns a subresource of the kind, nil if it has none of that name.
func Of(k *kinds.Kind, name string) *Subresource {
	if !k.HasSubresource(name) {
		return nil
	}
	core := schema.GroupVersion{Version: "v1"}
	s := &Subresource{Name: name, Kind: k.GroupVersionKind(), Verbs: changeVerbs, Untabled: untabled(k, name)}
	stream := func(kind string, options func() runtime.Object) {
		s.Form, s.Kind, s.Options = Connect, core.WithKind(kind), options
		s.Verbs, s.Methods = streamVerbs, streamMethods
	}
	action := func(gv schema.GroupVersion, kind string, make func() runtime.Object) {
		s.Form, s.Kind, s.New, s.Verbs = Action, gv.WithKind(kind), make, []string{"create"}
	}
	switch name {
	case "finalize":
		s.Form, s.Verbs = Replace, []string{"update"}
	case "scale":
		s.Kind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")
		s.New = func() runtime.Object { return &autoscalingv1.Scale{} }
	case "log":
		s.Form, s.Verbs = Read, []string{"get"}
		s.Options = func() runtime.Object { return &corev1.PodLogOptions{} }
	case "binding":
		action(core, "Binding", func() runtime.Object { return &corev1.Binding{} })
	case "eviction":
		action(policyv1.SchemeGroupVersion, "Eviction", func() runtime.Object { return &policyv1.Eviction{} })
	case "token":
		action(authenticationv1.SchemeGroupVersion, "TokenRequest", func() runtime.Object { return &authenticationv1.TokenRequest{} })
	case "exec":
		stream("PodExecOptions", func() runtime.Object { return &corev1.PodExecOptions{} })
	case "attach":
		stream("PodAttachOptions", func() runtime.Object { return &corev1.PodAttachOptions{} })
	case "portforward":
		stream("PodPortForwardOptions", func() runtime.Object { return &corev1.PodPortForwardOptions{} })
	case "proxy":
		stream(k.Kind+"ProxyOptions", proxyOptions(k))
		s.Verbs, s.Methods, s.Path = proxyVerbs, proxyMethods, true
	}
	return s
}

// untabled follows upstream, whose storage of a subresource has a table or not.
func untabled(k *kinds.Kind, name string) bool {
	switch name {
	case "scale":
		return false
	case "status":
		switch k.String() {
		case "apiservices.apiregistration.k8s.io", "customresourcedefinitions.apiextensions.k8s.io",
			"devicetaintrules.resource.k8s.io", "resourceclaims.resource.k8s.io":
			return true
		}
		return false
	}
	return true
}

func proxyOptions(k *kinds.Kind) func() runtime.Object {
	switch k.Kind {
	case "Node":
		return func() runtime.Object { return &corev1.NodeProxyOptions{} }
	case "Service":
		return func() runtime.Object { return &corev1.ServiceProxyOptions{} }
	}
	return func() runtime.Object { return &corev1.PodProxyOptions{} }
}

// Of whose objects deletion answers with the object that went; for others the
// answer is a Status.
var returnsDeleted = map[string]bool{
	"namespaces": true, "persistentvolumeclaims": true, "persistentvolumes": true, "pods": true, "podtemplates": true,
	"resourcequotas": true, "serviceaccounts": true, "services": true,
	"deviceclasses.resource.k8s.io": true, "resourceclaims.resource.k8s.io": true,
	"resourceclaimtemplates.resource.k8s.io": true, "resourceslices.resource.k8s.io": true,
	"csidrivers.storage.k8s.io": true, "csinodes.storage.k8s.io": true, "storageclasses.storage.k8s.io": true,
	"volumeattachments.storage.k8s.io": true, "volumeattributesclasses.storage.k8s.io": true,
}

// ReturnsDeleted tells whether deletion answers with the object that went.
func ReturnsDeleted(k *kinds.Kind) bool { return returnsDeleted[k.String()] }
