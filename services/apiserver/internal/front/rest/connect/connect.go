// Package connect carries what clients want of running containers to the
// kubelets' gRPC: logs, commands, terminals and forwarded ports; and it proxies
// HTTP to pods, services and nodes by the same way.
package connect

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/streaming/pkg/httpstream"

	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
	"coracle.local/services/apiserver/internal/backend"
)

// Kubelets reaches the kubelets of nodes.
type Kubelets interface {
	backend.Kubelets
	// HTTP returns where a node's kubelet serves HTTP, and the transport that
	// it trusts.
	HTTP(ctx context.Context, node string) (*url.URL, http.RoundTripper, error)
}

// Objects are what is known of the cluster. An absent object is NotFound.
type Objects interface {
	backend.Objects
	Node(ctx context.Context, name string) (*corev1.Node, error)
}

// Connector serves the requests. All fields must be set, but for Kubelets:
// without them everything is unavailable.
type Connector struct {
	Log      *zap.Logger
	Kubelets Kubelets
	Objects  Objects
	// Fail answers a request that a connection cannot be made for.
	Fail func(w http.ResponseWriter, r *http.Request, err error)
}

// place is where a container runs.
type place struct {
	pod       *corev1.Pod
	ref       *kubeletv1.PodRef
	container string
	kubelet   kubeletv1.KubeletServiceClient
}

// find locates a container; an empty name is a pod's only one. The kubelet is
// nil if the pod is on no node yet.
func (c *Connector) find(ctx context.Context, namespace, name, container string) (*place, error) {
	pod, err := c.Objects.Pod(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	p := &place{pod: pod, ref: backend.Ref(pod)}
	if p.container, err = choose(pod, container); err != nil {
		return nil, err
	}
	if pod.Spec.NodeName != "" {
		p.kubelet, err = c.backends().Kubelet(ctx, pod.Spec.NodeName)
	}
	return p, err
}

func (c *Connector) backends() backend.Backends {
	return backend.Backends{Kubelets: c.Kubelets, Objects: c.Objects}
}

// choose finds the container that is meant.
func choose(pod *corev1.Pod, container string) (string, error) {
	var names []string
	for _, one := range pod.Spec.InitContainers {
		names = append(names, one.Name)
	}
	for _, one := range pod.Spec.Containers {
		names = append(names, one.Name)
	}
	for _, one := range pod.Spec.EphemeralContainers {
		names = append(names, one.Name)
	}
	switch {
	case container != "":
		for _, name := range names {
			if name == container {
				return container, nil
			}
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", container, pod.Name))
	case len(pod.Spec.Containers) == 1:
		return pod.Spec.Containers[0].Name, nil
	case len(pod.Spec.Containers) == 0:
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, names))
}

// placed is find for what needs a node.
func (c *Connector) placed(ctx context.Context, namespace, name, container string) (*place, error) {
	p, err := c.find(ctx, namespace, name, container)
	if err == nil && p.kubelet == nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	return p, err
}

// upgrade refuses a request that does not ask to become a stream.
func upgrade(r *http.Request) error {
	if !httpstream.IsUpgradeRequest(r) {
		return apierrors.NewBadRequest("Upgrade request required")
	}
	return nil
}

// protocols are the WebSocket subprotocols that a client offers.
func protocols(r *http.Request) []string {
	var out []string
	for _, header := range r.Header.Values("Sec-Websocket-Protocol") {
		for _, name := range strings.Split(header, ",") {
			out = append(out, strings.TrimSpace(name))
		}
	}
	return out
}
