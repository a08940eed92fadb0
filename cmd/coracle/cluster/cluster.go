package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/cmd/coracle/store"
	"coracle.local/libs/client"
	"coracle.local/libs/pki"
	"coracle.local/libs/serve"
	apiserver "coracle.local/services/apiserver/app"
)

// Cluster is a running cluster. Its fields are set before OnReady is called.
type Cluster struct {
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string
	// REST is the API server's URL, GRPC its host and port.
	REST, GRPC string
	// Etcd is the endpoint of the embedded etcd, for programs on this machine.
	Etcd string
	// Keys is the folder of keys and certificates, with kubeadm's names.
	Keys string
	// Scheduler, ControllerManager are where these answer gRPC.
	Scheduler, ControllerManager string

	cfg    Config
	keys   *pki.Cluster
	pipe   serve.Pipe
	dir    string
	serves map[string]net.Listener
}

// Run keeps the cluster until ctx ends, or one of its parts fails.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	c := &Cluster{cfg: cfg, pipe: serve.NewPipe(), dir: cfg.DataDir, serves: map[string]net.Listener{}}
	if c.dir == "" {
		dir, err := os.MkdirTemp("", "coracle-")
		if err != nil {
			return fmt.Errorf("create a temporary data folder: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		c.dir = dir
	}
	if err := c.prepare(); err != nil {
		c.closeListeners()
		return err
	}
	return c.run(ctx)
}

// prepare makes keys, opens ports and writes the kubeconfig: all that can fail
// for the user's sake, before anything runs.
func (c *Cluster) prepare() error {
	var err error
	hosts := []string{c.cfg.Address.String()}
	c.Keys = filepath.Join(c.dir, "pki")
	if c.keys, err = pki.OpenCluster(c.Keys, pki.Options{Hosts: hosts}); err != nil {
		return fmt.Errorf("keys of the cluster: %w", err)
	}
	for name, port := range map[string]int{"rest": c.cfg.SecurePort, "grpc": c.cfg.GRPCPort} {
		if c.serves[name], err = c.cfg.listen(port); err != nil {
			return fmt.Errorf("API server (%s): %w", name, err)
		}
	}
	for name, port := range map[string]int{"scheduler": 10259, "controller-manager": 10257} {
		if c.serves[name], err = c.cfg.component(port); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	c.REST = "https://" + address(c.serves["rest"])
	c.GRPC = address(c.serves["grpc"])
	c.Scheduler = address(c.serves["scheduler"])
	c.ControllerManager = address(c.serves["controller-manager"])
	return c.writeKubeconfig()
}

// address is where a listener is reached from this machine.
func address(l net.Listener) string {
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok || !a.IP.IsUnspecified() {
		return l.Addr().String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Port))
}

func (c *Cluster) writeKubeconfig() error {
	c.Kubeconfig = c.cfg.Kubeconfig
	if c.Kubeconfig == "" {
		c.Kubeconfig = filepath.Join(c.dir, "admin.kubeconfig")
	}
	admin, err := c.keys.Admin()
	if err != nil {
		return fmt.Errorf("the administrator's certificate: %w", err)
	}
	k := c.keys.Kubeconfig(c.REST, admin)
	k.GRPC, k.Cluster, k.Context = c.GRPC, "coracle", "coracle"
	if err := k.Write(c.Kubeconfig); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	return nil
}

func (c *Cluster) closeListeners() {
	for _, l := range c.serves {
		if l != nil {
			_ = l.Close()
		}
	}
}

func (c *Cluster) run(ctx context.Context) error {
	etcd, err := store.Open(ctx, store.Config{Dir: filepath.Join(c.dir, "etcd"), Volatile: c.cfg.DataDir == "", Log: c.cfg.Log.Named("etcd")})
	if err != nil {
		c.closeListeners()
		return err
	}
	defer etcd.Close()
	c.Etcd = etcd.Endpoint
	ready := make(chan struct{})
	return serve.All(ctx,
		func(ctx context.Context) error {
			return apiserver.Run(ctx, c.apiserver(etcd, func() { close(ready) }))
		},
		func(ctx context.Context) error {
			select {
			case <-ready:
			case <-ctx.Done():
				c.closeListeners()
				return nil
			}
			return c.runComponents(ctx)
		},
	)
}

func (c *Cluster) apiserver(etcd *store.Store, ready func()) apiserver.Config {
	cfg := apiserver.Config{
		Log: c.cfg.Log.Named("apiserver"), Etcd: etcd.Client,
		Listener: c.serves["rest"], GRPCListener: c.serves["grpc"], Pipe: &c.pipe,
		Certificate: c.keys.APIServer.TLS(), ClientCA: c.keys.CA.CertPEM,
		RequestHeader: &apiserver.RequestHeader{
			CA: c.keys.FrontProxyCA.CertPEM, AllowedNames: []string{"front-proxy-client"},
			UsernameHeaders: []string{"X-Remote-User"}, GroupHeaders: []string{"X-Remote-Group"},
			ExtraHeaderPrefixes: []string{"X-Remote-Extra-"},
		},
		ProxyClient: c.keys.FrontProxyClient.TLS(), SigningKey: c.keys.ServiceAccountKey, KubeletClient: c.keys.KubeletClient.TLS(), KubeletCA: c.keys.CA.Pool(),
		EnableAdmission: []string{"NodeRestriction"},
		Components: []apiserver.Component{
			{Name: "controller-manager", URL: "https://" + c.ControllerManager}, {Name: "scheduler", URL: "https://" + c.Scheduler},
		},
		OnReady: ready,
	}
	if c.cfg.APIServer != nil {
		c.cfg.APIServer(&cfg)
	}
	return cfg
}

// Dial connects to the API server in memory, as a user of the groups.
func (c *Cluster) Dial(name string, groups ...string) (*client.Conn, error) {
	cc, err := c.pipe.Dial(&user.DefaultInfo{Name: name, Groups: groups}, append(client.DialOptions(), grpc.WithUserAgent(agent(name)))...)
	if err != nil {
		return nil, err
	}
	return client.New(cc), nil
}

// agent is the program that a user runs, by which the fields that it sets are
// known to be its own.
func agent(name string) string {
	if strings.HasPrefix(name, "system:node:") {
		return "kubelet"
	}
	return strings.TrimPrefix(name, "system:")
}

// Admin connects as the administrator.
func (c *Cluster) Admin() (*client.Conn, error) {
	return c.Dial("kubernetes-admin", user.SystemPrivilegedGroup)
}

// serving is the TLS of a component's port.
func (c *Cluster) serving(name string) (*tls.Config, error) {
	credential, err := c.keys.Serving(name, "localhost", c.cfg.Address.String())
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{credential.TLS()}, ClientCAs: c.keys.CA.Pool(),
	}, nil
}

// Log is the cluster's logger.
func (c *Cluster) Log() *zap.Logger { return c.cfg.Log }
