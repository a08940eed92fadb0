package rest

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/warning"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/front/rest/query"
	"coracle.local/services/apiserver/internal/front/rest/surface"
	"coracle.local/services/apiserver/internal/registry"
)

// through connects the client with what runs behind the object in the path.
func (c *call) through(s *surface.Subresource) error {
	if _, dry := c.values["dryRun"]; dry && s.Name != "proxy" {
		return apierrors.NewBadRequest("dryRun is not supported")
	}
	if err := c.mayConnect(s); err != nil {
		return err
	}
	namespace, name := c.namespace, c.t.Name
	switch s.Name {
	case "exec":
		return c.connect.Exec(c.w, c.r, namespace, name, c.values)
	case "attach":
		return c.connect.Attach(c.w, c.r, namespace, name, c.values)
	case "portforward":
		return c.connect.PortForward(c.w, c.r, namespace, name, c.values)
	case "proxy":
		return c.proxy(name)
	}
	return fmt.Errorf("there is no way through %s", s.Name)
}

// mayConnect asks whether a user who may read may also act: a WebSocket can
// only be opened by GET. Admission has its word, too.
func (c *call) mayConnect(s *surface.Subresource) error {
	if s.Name != "proxy" && c.t.Verb == "get" {
		a := c.t.Attributes()
		a.Verb, a.User = "create", auth.User(c.ctx())
		if err := c.Guard.Authorize(c.ctx(), a); err != nil {
			return err
		}
	}
	if c.Config.Admission == nil {
		return nil
	}
	annotate, annotateBody := audit.Annotators(c.ctx())
	a := &admission.Attributes{
		Annotate: annotate, AnnotateBody: annotateBody,
		Kind: c.kind, Namespace: c.namespace, Name: c.t.Name, Subresource: s.Name, Operation: admission.Connect,
		Options: c.connectOptions(s), User: auth.User(c.ctx()),
		Warn: func(text string) { warning.AddWarning(c.ctx(), "", text) },
	}
	if err := c.Config.Admission.Admit(c.ctx(), a); err != nil {
		return err
	}
	return c.Config.Admission.Validate(c.ctx(), a)
}

func (c *call) connectOptions(s *surface.Subresource) runtime.Object {
	switch s.Name {
	case "exec":
		return query.ForExec(c.values)
	case "attach":
		return query.ForAttach(c.values)
	}
	switch o := s.Options().(type) {
	case *corev1.PodPortForwardOptions:
		if ports, err := query.ForPortForward(c.values); err == nil {
			return ports
		}
		return o
	case *corev1.PodProxyOptions:
		o.Path = c.behind()
		return o
	case *corev1.ServiceProxyOptions:
		o.Path = c.behind()
		return o
	case *corev1.NodeProxyOptions:
		o.Path = c.behind()
		return o
	default:
		return o
	}
}

// behind is the path that follows the proxy's in the request's.
func (c *call) behind() string {
	path := ""
	if c.t.Rest != "" {
		path = "/" + c.t.Rest
	}
	if strings.HasSuffix(c.t.Path, "/") && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return path
}

func (c *call) proxy(name string) error {
	path := c.behind()
	switch c.kind.Kind {
	case "Pod":
		return c.connect.ProxyPod(c.w, c.r, c.namespace, name, path)
	case "Service":
		return c.connect.ProxyService(c.w, c.r, c.namespace, name, path)
	}
	return c.connect.ProxyNode(c.w, c.r, name, path)
}

// objects shows the registry to the connector. What it reads may be a moment
// old, like the network itself.
type objects struct{ registry Registry }

func read[T kinds.Object](ctx context.Context, r Registry, namespace, name, version string) (T, error) {
	var none T
	i, err := r.Get(ctx, kinds.For[T](), namespace, name, registry.GetOptions{ResourceVersion: version})
	if err != nil {
		return none, err
	}
	return i.Object().(T), nil
}

func (o objects) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return read[*corev1.Pod](ctx, o.registry, namespace, name, "")
}

func (o objects) Service(ctx context.Context, namespace, name string) (*corev1.Service, error) {
	return read[*corev1.Service](ctx, o.registry, namespace, name, "0")
}

func (o objects) Node(ctx context.Context, name string) (*corev1.Node, error) {
	return read[*corev1.Node](ctx, o.registry, "", name, "0")
}

func (o objects) EndpointSlices(ctx context.Context, namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	l, err := o.registry.List(ctx, kinds.For[*discoveryv1.EndpointSlice](), registry.ListOptions{
		Namespace: namespace, Labels: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}), ResourceVersion: "0",
	})
	if err != nil {
		return nil, err
	}
	out := make([]*discoveryv1.EndpointSlice, len(l.Items))
	for i, item := range l.Items {
		out[i] = item.Object().(*discoveryv1.EndpointSlice)
	}
	return out, nil
}
