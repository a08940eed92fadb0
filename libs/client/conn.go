// Package client is the typed client of the API server's gRPC front: requests,
// watches, informers, events and leader election for every kind of the table.
package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"coracle.local/libs/apistatus"
	"coracle.local/libs/wire"
)

// DiscoveryPath is where the REST front tells its gRPC port, as
// {"grpcPort": 6444}.
const DiscoveryPath = "/.well-known/coracle"

// maxMessage bounds one message in bytes: a list of many large objects.
const maxMessage = 512 << 20

// Config says how to reach the API server.
type Config struct {
	// Kubeconfig is a file's path; its current context is used.
	Kubeconfig string
	// UserAgent is sent with every request.
	UserAgent string
}

// Conn is a connection to the API server, shared by all clients of a process.
type Conn struct {
	cc     grpc.ClientConnInterface
	closer interface{ Close() error }
}

// New returns a Conn over cc, whose calls must already restore errors and use
// the codec: see DialOptions.
func New(cc grpc.ClientConnInterface) *Conn {
	c := &Conn{cc: cc}
	c.closer, _ = cc.(interface{ Close() error })
	return c
}

// GRPC is the connection below, for services other than the kinds'.
func (c *Conn) GRPC() grpc.ClientConnInterface { return c.cc }

// Close ends the connection and every stream over it.
func (c *Conn) Close() error {
	if c.closer == nil {
		return nil
	}
	return c.closer.Close()
}

// DialOptions are what every connection to one of our servers needs: the
// codec, and errors restored to metav1.Status.
func DialOptions() []grpc.DialOption {
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = 50*time.Millisecond, 2*time.Second
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec()), grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithChainUnaryInterceptor(restoreUnary),
		grpc.WithChainStreamInterceptor(restoreStream),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 5 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
	}
}

// Connect prepares a connection from a kubeconfig. It does not wait for the
// server: requests fail with ServiceUnavailable until it answers.
func Connect(cfg Config) (*Conn, error) {
	rc, err := clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %q: %w", cfg.Kubeconfig, err)
	}
	return ConnectREST(rc, cfg.UserAgent)
}

// ConnectREST is Connect from a client-go configuration.
func ConnectREST(rc *rest.Config, userAgent string) (*Conn, error) {
	server, err := url.Parse(rc.Host)
	if err != nil || server.Host == "" {
		return nil, fmt.Errorf("server %q of the kubeconfig is not a URL", rc.Host)
	}
	tlsConfig, err := rest.TLSConfigFor(rc)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig's certificates: %w", err)
	}
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if tlsConfig.ServerName == "" {
		tlsConfig.ServerName = server.Hostname()
	}
	d := &dialer{server: server, http: &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: tlsConfig.Clone(), DisableKeepAlives: true},
	}}
	options := append(DialOptions(),
		grpc.WithTransportCredentials(credentials.NewTLS(tlsConfig)),
		grpc.WithContextDialer(d.dial), grpc.WithUserAgent(userAgent))
	if rc.BearerToken != "" || rc.BearerTokenFile != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer{rc.BearerToken, rc.BearerTokenFile}))
	}
	cc, err := grpc.NewClient("passthrough:///"+server.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", server.Host, err)
	}
	return New(cc), nil
}

// dialer learns the gRPC port from the REST front at every dial, since a
// server that was started again may have another.
type dialer struct {
	server *url.URL
	http   *http.Client
}

func (d *dialer) dial(ctx context.Context, _ string) (net.Conn, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.server.JoinPath(DiscoveryPath).String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := d.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its gRPC port: %w", d.server.Host, err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		GRPCPort int `json:"grpcPort"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.GRPCPort == 0 {
		return nil, fmt.Errorf("%s does not tell a gRPC port at %s (HTTP %d): it is no Coracle API server", d.server.Host, DiscoveryPath, response.StatusCode)
	}
	var nd net.Dialer
	return nd.DialContext(ctx, "tcp", net.JoinHostPort(d.server.Hostname(), strconv.Itoa(answer.GRPCPort)))
}

func restoreUnary(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return apistatus.FromGRPC(invoke(ctx, method, request, reply, cc, opts...))
}

func restoreStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	return restoredStream{s}, nil
}

type restoredStream struct{ grpc.ClientStream }

func (s restoredStream) SendMsg(m any) error { return apistatus.FromGRPC(s.ClientStream.SendMsg(m)) }

func (s restoredStream) RecvMsg(m any) error { return apistatus.FromGRPC(s.ClientStream.RecvMsg(m)) }
