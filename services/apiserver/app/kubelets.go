package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/libs/client"
	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
	"coracle.local/services/apiserver/internal/auth"
)

// kubelets reaches the kubelets of nodes, over one connection each.
type kubelets struct {
	nodes auth.Reader
	tls   *tls.Config
	http  *http.Transport

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by host and port
}

func newKubelets(cfg *Config, nodes auth.Reader) *kubelets {
	t := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.KubeletCA}
	if len(cfg.KubeletClient.Certificate) > 0 {
		t.Certificates = []tls.Certificate{cfg.KubeletClient}
	}
	// Kubelets make their own certificates unless an authority is given, as
	// upstream's do.
	t.InsecureSkipVerify = cfg.KubeletCA == nil
	return &kubelets{
		nodes: nodes, tls: t, conns: map[string]*grpc.ClientConn{},
		http: &http.Transport{TLSClientConfig: t.Clone(), ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute},
	}
}

// address is where a node's kubelet listens.
func (k *kubelets) address(name string) (string, error) {
	node, ok := auth.Get[*corev1.Node](k.nodes, "", name)
	if !ok {
		return "", apierrors.NewNotFound(corev1.Resource("nodes"), name)
	}
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	if port == 0 {
		port = 10250
	}
	for _, wanted := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == wanted {
				return net.JoinHostPort(a.Address, strconv.Itoa(int(port))), nil
			}
		}
	}
	return "", apierrors.NewServiceUnavailable("node " + name + " has no address")
}

// Dial returns the API of a node's kubelet.
func (k *kubelets) Dial(_ context.Context, node string) (kubeletv1.KubeletServiceClient, error) {
	at, err := k.address(node)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	cc := k.conns[at]
	if cc == nil {
		if cc, err = grpc.NewClient("passthrough:///"+at, append(client.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(k.tls)))...); err != nil {
			return nil, fmt.Errorf("connect to the kubelet of %s: %w", node, err)
		}
		k.conns[at] = cc
	}
	return kubeletv1.NewKubeletServiceClient(cc), nil
}

// HTTP returns where a node's kubelet serves HTTP.
func (k *kubelets) HTTP(_ context.Context, node string) (*url.URL, http.RoundTripper, error) {
	at, err := k.address(node)
	if err != nil {
		return nil, nil, err
	}
	return &url.URL{Scheme: "https", Host: at}, k.http, nil
}

// Run closes all connections when ctx ends.
func (k *kubelets) Run(ctx context.Context) error {
	<-ctx.Done()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, cc := range k.conns {
		_ = cc.Close()
	}
	k.http.CloseIdleConnections()
	return nil
}
