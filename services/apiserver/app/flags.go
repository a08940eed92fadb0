package app

import (
	"context"
	"crypto/tls"
	"errors"
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

	"coracle.local/libs/flags"
	"coracle.local/libs/pki"
)

// Main is the program of that name with these arguments: flags, Config, Run.
func Main(ctx context.Context, log *zap.Logger, name string, args []string) error {
	var f Flags
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.Add(fs)
	if err := flags.Parse(fs, args, log); err != nil {
		return err
	}
	cfg, stop, err := f.Config(log)
	if err != nil {
		return err
	}
	defer stop()
	return Run(ctx, cfg)
}

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

	enable    []string
	disable   []string
	admission string

	serviceRange string
	nodePorts    utilnet.PortRange

	auth    authFlags
	serving servingFlags
	certDir string
	tlsMin  string
	version string

	proxyClient proxyFlags

	encryption Encryption
	audit      Audit
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
	fs.IntVar(&f.grpcPort, "grpc-port", 0, "port of gRPC (default: --secure-port + 1, or any other if that is taken)")
	fs.StringVar(&f.tlsCert, "tls-cert-file", "", "the certificate of both ports (default: one of --cert-dir)")
	fs.StringVar(&f.certDir, "cert-dir", "", "where a certificate that this server signs itself is kept (default: nowhere, each start makes one)")
	fs.StringVar(&f.tlsMin, "tls-min-version", "VersionTLS12", "the oldest TLS to speak: VersionTLS12, VersionTLS13")
	fs.StringVar(&f.tlsKey, "tls-private-key-file", "", "the key of --tls-cert-file")
	fs.StringVar(&f.clientCA, "client-ca-file", "", "the authority of clients' certificates")
	fs.StringVar(&f.kubeletCert, "kubelet-client-certificate", "", "the certificate to show kubelets")
	fs.StringVar(&f.kubeletKey, "kubelet-client-key", "", "the key of --kubelet-client-certificate")
	fs.StringVar(&f.kubeletCA, "kubelet-certificate-authority", "", "the authority of kubelets' certificates (default: they are not verified)")

	f.auth.add(fs)
	f.serving.add(fs)
	fs.StringSliceVar(&f.enable, "enable-admission-plugins", nil, "admission plugins beside the defaults")
	fs.StringSliceVar(&f.disable, "disable-admission-plugins", nil, "admission plugins to leave out")
	fs.StringVar(&f.admission, "admission-control-config-file", "", "a file with the configurations of admission plugins, or of where they are")

	f.proxyClient.add(fs)
	f.encryption.Add(fs)
	f.audit.Add(fs)
	fs.StringVar(&f.version, "version", "", "tell clients that this is the version; without a value, print it and exit")
	fs.StringVar(&f.serviceRange, "service-cluster-ip-range", DefaultServiceCIDR, "the network of Services' addresses, or one of each family, separated by a comma")
	f.nodePorts = DefaultNodePorts
	fs.Var(&f.nodePorts, "service-node-port-range", "the ports of Services of type NodePort")
	flags.Accept(fs, upstreamFlags)
}

// Config reads the files and opens the ports and etcd. stop closes etcd's
// client.
func (f *Flags) Config(log *zap.Logger) (cfg Config, stop func(), err error) {
	cfg = Config{
		Log: log, EnableAdmission: f.enable, DisableAdmission: f.disable, NodePorts: f.nodePorts, Version: f.version,
		Encryption: f.encryption, Audit: f.audit,
	}
	for _, read := range []func(*Config) error{f.auth.apply, f.serving.apply, f.keys, f.accounts, f.kubelet, f.proxy, f.proxyClient.read, f.network, f.plugins} {
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
	if f.clientCA != "" {
		if cfg.ClientCA, err = os.ReadFile(f.clientCA); err != nil {
			return fmt.Errorf("read --client-ca-file: %w", err)
		}
	}
	switch f.tlsMin {
	case "", "VersionTLS10", "VersionTLS11", "VersionTLS12":
		cfg.TLSMinVersion = tls.VersionTLS12
	case "VersionTLS13":
		cfg.TLSMinVersion = tls.VersionTLS13
	default:
		return fmt.Errorf("unknown tls version %q", f.tlsMin)
	}
	if f.tlsCert != "" {
		if cfg.Certificate, err = tls.LoadX509KeyPair(f.tlsCert, f.tlsKey); err != nil {
			return fmt.Errorf("read --tls-cert-file and --tls-private-key-file: %w", err)
		}
		return nil
	}
	cfg.Certificate, err = f.selfSigned()
	return err
}

func (f *Flags) accounts(cfg *Config) error {
	if f.auth.signingKey == "" {
		return fmt.Errorf("service accounts would have no tokens: set --service-account-signing-key-file")
	}
	pem, err := os.ReadFile(f.auth.signingKey)
	if err != nil {
		return fmt.Errorf("read --service-account-signing-key-file: %w", err)
	}
	if cfg.SigningKey, err = pki.ParseKey(pem); err != nil {
		return fmt.Errorf("--service-account-signing-key-file %s: %w", f.auth.signingKey, err)
	}
	for _, path := range f.auth.accountKeys {
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
	if f.auth.headerCA == "" {
		return nil
	}
	pem, err := os.ReadFile(f.auth.headerCA)
	if err != nil {
		return fmt.Errorf("read --requestheader-client-ca-file: %w", err)
	}
	if len(f.auth.header.AllowedNames) == 0 && overlap(cfg.ClientCA, pem) {
		return errors.New("--requestheader-client-ca-file and --client-ca-file contain overlapping certificates; --requestheader-allowed-names must be specified to ensure regular client certificates cannot set authenticating proxy headers for arbitrary users")
	}
	h := f.auth.header
	h.CA = pem
	cfg.RequestHeader = &h
	return nil
}

func (f *Flags) network(cfg *Config) (err error) {
	if cfg.ServiceCIDRs, err = parseServiceCIDRs(f.serviceRange); err != nil {
		return err
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
	if cfg.GRPCListener, err = f.listenGRPC(cfg); err != nil {
		_ = cfg.Listener.Close()
		return fmt.Errorf("--grpc-port: %w", err)
	}
	return nil
}
