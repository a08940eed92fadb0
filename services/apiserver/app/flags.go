package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"coracle.local/libs/pki"
)

// Flags are the API server's command line, with upstream's names.
type Flags struct {
	etcd        etcdFlags
	bindAddress string
	advertise   string
	securePort  int
	grpcPort    int

	tlsCert, tlsKey, clientCA string
	kubeletCert, kubeletKey   string
	kubeletCA                 string

	accountKeys   []string
	signingKey    string
	issuers       []string
	audiences     []string
	tokenFile     string
	anonymous     bool
	authorization []string
	enable        []string
	disable       []string

	serviceRange string
	nodePorts    utilnet.PortRange

	headerCA string
	header   RequestHeader
	version  string
}

type etcdFlags struct {
	servers       []string
	ca, cert, key string
}

// Add declares the flags.
func (f *Flags) Add(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.etcd.servers, "etcd-servers", nil, "etcd's addresses")
	fs.StringVar(&f.etcd.ca, "etcd-cafile", "", "the authority of etcd's certificate")
	fs.StringVar(&f.etcd.cert, "etcd-certfile", "", "the certificate to show etcd")
	fs.StringVar(&f.etcd.key, "etcd-keyfile", "", "the key of --etcd-certfile")

	fs.StringVar(&f.bindAddress, "bind-address", "0.0.0.0", "where to listen")
	fs.StringVar(&f.advertise, "advertise-address", "", "where others reach this server (default: the bind address, or the host's)")
	fs.IntVar(&f.securePort, "secure-port", 6443, "port of REST")
	fs.IntVar(&f.grpcPort, "grpc-port", 6444, "port of gRPC")
	fs.StringVar(&f.tlsCert, "tls-cert-file", "", "the certificate of both ports (default: one made at the start)")
	fs.StringVar(&f.tlsKey, "tls-private-key-file", "", "the key of --tls-cert-file")
	fs.StringVar(&f.clientCA, "client-ca-file", "", "the authority of clients' certificates")
	fs.StringVar(&f.kubeletCert, "kubelet-client-certificate", "", "the certificate to show kubelets")
	fs.StringVar(&f.kubeletKey, "kubelet-client-key", "", "the key of --kubelet-client-certificate")
	fs.StringVar(&f.kubeletCA, "kubelet-certificate-authority", "", "the authority of kubelets' certificates (default: they are not verified)")

	fs.StringSliceVar(&f.accountKeys, "service-account-key-file", nil, "keys that verify service account tokens")
	fs.StringVar(&f.signingKey, "service-account-signing-key-file", "", "the key that signs service account tokens")
	fs.StringSliceVar(&f.issuers, "service-account-issuer", []string{DefaultIssuer}, "issuers of service account tokens; the first is this server's")
	fs.StringSliceVar(&f.audiences, "api-audiences", nil, "audiences of this server (default: the issuers)")
	fs.StringVar(&f.tokenFile, "token-auth-file", "", "a CSV file of static tokens")
	fs.BoolVar(&f.anonymous, "anonymous-auth", true, "let requests without credentials in as system:anonymous")
	fs.StringSliceVar(&f.authorization, "authorization-mode", []string{"Node", "RBAC"}, "how requests are authorized, in order: AlwaysAllow, AlwaysDeny, Node, RBAC")
	fs.StringSliceVar(&f.enable, "enable-admission-plugins", nil, "admission plugins beside the defaults")
	fs.StringSliceVar(&f.disable, "disable-admission-plugins", nil, "admission plugins to leave out")

	fs.StringVar(&f.version, "version", "", "tell clients that this is the version; without a value, print it and exit")
	fs.StringVar(&f.serviceRange, "service-cluster-ip-range", DefaultServiceCIDR, "the network of Services' addresses")
	f.nodePorts = DefaultNodePorts
	fs.Var(&f.nodePorts, "service-node-port-range", "the ports of Services of type NodePort")

	fs.StringVar(&f.headerCA, "requestheader-client-ca-file", "", "the authority of a proxy in front that has authenticated clients")
	fs.StringSliceVar(&f.header.AllowedNames, "requestheader-allowed-names", nil, "common names that the proxy's certificate may have (default: any)")
	fs.StringSliceVar(&f.header.UsernameHeaders, "requestheader-username-headers", nil, "headers that name the user")
	fs.StringSliceVar(&f.header.UIDHeaders, "requestheader-uid-headers", nil, "headers with the user's UID")
	fs.StringSliceVar(&f.header.GroupHeaders, "requestheader-group-headers", nil, "headers that name the user's groups")
	fs.StringSliceVar(&f.header.ExtraHeaderPrefixes, "requestheader-extra-headers-prefix", nil, "prefixes of headers with further facts")
}

// Config reads the files and opens the ports and etcd. stop closes etcd's
// client.
func (f *Flags) Config(log *zap.Logger) (cfg Config, stop func(), err error) {
	cfg = Config{
		Log: log, Issuers: f.issuers, Audiences: f.audiences, TokenFile: f.tokenFile, NoAnonymous: !f.anonymous,
		AuthorizationModes: f.authorization, EnableAdmission: f.enable, DisableAdmission: f.disable, NodePorts: f.nodePorts, Version: f.version,
	}
	for _, read := range []func(*Config) error{f.keys, f.accounts, f.kubelet, f.proxy, f.network} {
		if err := read(&cfg); err != nil {
			return cfg, nil, err
		}
	}
	if cfg.Etcd, err = f.etcd.connect(log); err != nil {
		return cfg, nil, err
	}
	if err := f.listen(&cfg); err != nil {
		_ = cfg.Etcd.Close()
		return cfg, nil, err
	}
	return cfg, func() { _ = cfg.Etcd.Close() }, nil
}

func (e *etcdFlags) connect(log *zap.Logger) (*clientv3.Client, error) {
	if len(e.servers) == 0 {
		return nil, fmt.Errorf("no etcd: set --etcd-servers")
	}
	c := clientv3.Config{
		Endpoints: e.servers, Logger: log.Named("etcd"), DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
		MaxCallSendMsgSize: 16 << 20, MaxCallRecvMsgSize: 1 << 30,
	}
	if e.ca != "" || e.cert != "" {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if e.ca != "" {
			pem, err := os.ReadFile(e.ca)
			if err != nil {
				return nil, fmt.Errorf("read --etcd-cafile: %w", err)
			}
			if c.TLS.RootCAs, err = pool(pem, "--etcd-cafile"); err != nil {
				return nil, err
			}
		}
		if e.cert != "" {
			own, err := tls.LoadX509KeyPair(e.cert, e.key)
			if err != nil {
				return nil, fmt.Errorf("read --etcd-certfile and --etcd-keyfile: %w", err)
			}
			c.TLS.Certificates = []tls.Certificate{own}
		}
	}
	client, err := clientv3.New(c)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	return client, nil
}

func (f *Flags) keys(cfg *Config) (err error) {
	if f.clientCA == "" {
		return fmt.Errorf("nobody could call: set --client-ca-file")
	}
	if cfg.ClientCA, err = os.ReadFile(f.clientCA); err != nil {
		return fmt.Errorf("read --client-ca-file: %w", err)
	}
	if f.tlsCert != "" {
		if cfg.Certificate, err = tls.LoadX509KeyPair(f.tlsCert, f.tlsKey); err != nil {
			return fmt.Errorf("read --tls-cert-file and --tls-private-key-file: %w", err)
		}
		return nil
	}
	ca, err := pki.NewAuthority("apiserver", time.Time{})
	if err != nil {
		return fmt.Errorf("make an authority: %w", err)
	}
	own, err := ca.Issue(pki.Request{CommonName: "apiserver", Server: true, Hosts: []string{"localhost", "127.0.0.1"}})
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	cfg.Certificate = own.TLS()
	return nil
}

func (f *Flags) accounts(cfg *Config) error {
	if f.signingKey == "" {
		return fmt.Errorf("service accounts would have no tokens: set --service-account-signing-key-file")
	}
	pem, err := os.ReadFile(f.signingKey)
	if err != nil {
		return fmt.Errorf("read --service-account-signing-key-file: %w", err)
	}
	if cfg.SigningKey, err = pki.ParseKey(pem); err != nil {
		return fmt.Errorf("--service-account-signing-key-file %s: %w", f.signingKey, err)
	}
	for _, path := range f.accountKeys {
		pem, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read --service-account-key-file: %w", err)
		}
		keys, err := pki.ParsePublicKeys(pem)
		if err != nil {
			return fmt.Errorf("--service-account-key-file %s: %w", path, err)
		}
		cfg.VerifyKeys = append(cfg.VerifyKeys, keys...)
	}
	return nil
}

func (f *Flags) kubelet(cfg *Config) (err error) {
	if f.kubeletCert != "" {
		if cfg.KubeletClient, err = tls.LoadX509KeyPair(f.kubeletCert, f.kubeletKey); err != nil {
			return fmt.Errorf("read --kubelet-client-certificate and --kubelet-client-key: %w", err)
		}
	}
	if f.kubeletCA != "" {
		pem, err := os.ReadFile(f.kubeletCA)
		if err != nil {
			return fmt.Errorf("read --kubelet-certificate-authority: %w", err)
		}
		if cfg.KubeletCA, err = pool(pem, "--kubelet-certificate-authority"); err != nil {
			return err
		}
	}
	return nil
}

func (f *Flags) proxy(cfg *Config) error {
	if f.headerCA == "" {
		return nil
	}
	pem, err := os.ReadFile(f.headerCA)
	if err != nil {
		return fmt.Errorf("read --requestheader-client-ca-file: %w", err)
	}
	h := f.header
	h.CA = pem
	cfg.RequestHeader = &h
	return nil
}

func (f *Flags) network(cfg *Config) (err error) {
	if cfg.ServiceCIDR, err = netip.ParsePrefix(f.serviceRange); err != nil {
		return fmt.Errorf("--service-cluster-ip-range: %w", err)
	}
	if f.advertise != "" {
		if cfg.Address, err = netip.ParseAddr(f.advertise); err != nil {
			return fmt.Errorf("--advertise-address: %w", err)
		}
	}
	return nil
}

func (f *Flags) listen(cfg *Config) (err error) {
	if cfg.Listener, err = net.Listen("tcp", net.JoinHostPort(f.bindAddress, strconv.Itoa(f.securePort))); err != nil {
		return fmt.Errorf("--secure-port: %w", err)
	}
	if cfg.GRPCListener, err = net.Listen("tcp", net.JoinHostPort(f.bindAddress, strconv.Itoa(f.grpcPort))); err != nil {
		_ = cfg.Listener.Close()
		return fmt.Errorf("--grpc-port: %w", err)
	}
	return nil
}
