// Package app is the API server as others start it: a Config and Run.
package app

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"coracle.local/libs/serve"
)

// Defaults of upstream.
const (
	DefaultServiceCIDR = "10.96.0.0/16"
	DefaultIssuer      = "https://kubernetes.default.svc.cluster.local"
)

// DefaultNodePorts are the ports that Services of type NodePort get.
var DefaultNodePorts = utilnet.PortRange{Base: 30000, Size: 2768}

// Config is everything an API server needs; what has no default must be set.
type Config struct {
	Log *zap.Logger
	// Etcd is the store; the caller closes it.
	Etcd *clientv3.Client

	// Listener is for REST, GRPCListener for gRPC; Run owns both. Pipe, if set,
	// takes connections of components in this process.
	Listener, GRPCListener net.Listener
	Pipe                   *serve.Pipe

	// Certificate is what both ports show.
	Certificate tls.Certificate
	// TLSMinVersion is the oldest TLS that both ports speak; zero is 1.2.
	TLSMinVersion uint16
	// ClientCA (PEM) verifies client certificates; without one there are none.
	ClientCA []byte
	// RequestHeader trusts a proxy in front; nil trusts none.
	RequestHeader *RequestHeader

	// SigningKey signs service account tokens; VerifyKeys, beside it, verify
	// them.
	SigningKey crypto.Signer
	VerifyKeys []crypto.PublicKey
	// Issuers of service account tokens, the first of which is ours.
	Issuers []string
	// Audiences of this server; the issuers if empty.
	Audiences []string
	// MaxTokenValidity shortens service account tokens; zero is no limit.
	MaxTokenValidity time.Duration
	// NoTokenExtension takes from the tokens of pods the year that they get so
	// that programs which do not renew them go on working.
	NoTokenExtension bool
	// KeysURI is where others find the keys of Issuers[0]; empty is this server.
	KeysURI string
	// TokenFile is a CSV file of static tokens; empty for none.
	TokenFile string
	// Loopback, if set, lets a component of this process call REST.
	Loopback *Loopback
	// Authentication are further ways to be recognized.
	Authentication Authentication

	// KubeletClient is shown to kubelets, KubeletCA verifies them (nil: the
	// client CA does).
	KubeletClient tls.Certificate
	KubeletCA     *x509.CertPool

	// ProxyClient is shown to aggregated API servers, which believe what it says
	// of callers.
	ProxyClient tls.Certificate

	// Address is where other hosts reach this server; the listener's if unset.
	Address netip.Addr
	// ServiceCIDRs are the network of cluster addresses, or one of each family,
	// the first of which is that of Services which do not ask for any.
	ServiceCIDRs []netip.Prefix
	NodePorts    utilnet.PortRange

	// AuthorizationModes in order; empty is Node,RBAC.
	AuthorizationModes []string
	// Authorization has what modes need, or stands in their place.
	Authorization Authorization
	// NoAnonymous refuses requests without credentials even for health.
	NoAnonymous bool
	// EnableAdmission and DisableAdmission name plugins beside the defaults.
	EnableAdmission, DisableAdmission []string
	// AdmissionConfiguration is the plugins' own configurations, by name; see
	// ReadAdmissionConfiguration.
	AdmissionConfiguration map[string][]byte

	// Encryption is that of what is stored; the zero value is none.
	Encryption Encryption
	// Audit records requests; the zero value records nothing.
	Audit Audit

	// UncheckedPolicies leaves the status of ValidatingAdmissionPolicies alone:
	// upstream's controller manager writes it, too.
	UncheckedPolicies bool

	// EventTTL is how long events are kept; zero is an hour.
	EventTTL time.Duration
	// ExternalHost is the host by which others reach this server where it says
	// so; empty is Address.
	ExternalHost string
	// MaxStreams is how many requests go over one connection at a time; zero is
	// 1000.
	MaxStreams uint32

	// Version is what clients are told; empty is upstream's.
	Version string

	// Components are shown by the kind ComponentStatus; nil is
	// DefaultComponents.
	Components []Component

	// OnReady is called once all is served; nil for none.
	OnReady func()
}

// RequestHeader says how to recognize a proxy that has authenticated clients.
type RequestHeader struct {
	CA                  []byte // PEM
	AllowedNames        []string
	UsernameHeaders     []string
	UIDHeaders          []string
	GroupHeaders        []string
	ExtraHeaderPrefixes []string
}

// Validate fills in defaults and says what is missing.
func (c *Config) Validate() error {
	if len(c.ServiceCIDRs) == 0 {
		c.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix(DefaultServiceCIDR)}
	}
	if err := checkServiceCIDRs(c.ServiceCIDRs); err != nil {
		return err
	}
	if c.NodePorts.Size == 0 {
		c.NodePorts = DefaultNodePorts
	}
	if len(c.AuthorizationModes) == 0 && c.Authorization.ConfigFile == "" {
		c.AuthorizationModes = []string{"Node", "RBAC"}
	}
	if c.TLSMinVersion == 0 {
		c.TLSMinVersion = tls.VersionTLS12
	}
	if len(c.Issuers) == 0 {
		c.Issuers = []string{DefaultIssuer}
	}
	if len(c.Audiences) == 0 {
		c.Audiences = c.Issuers
	}
	if c.Components == nil {
		c.Components = DefaultComponents()
	}
	for missing, is := range map[string]bool{
		"a logger": c.Log == nil, "an etcd client": c.Etcd == nil,
		"a listener for REST": c.Listener == nil, "a listener for gRPC": c.GRPCListener == nil,
		"a service account signing key": c.SigningKey == nil,
	} {
		if is {
			return errors.New("the API server needs " + missing)
		}
	}
	c.harden()
	if !c.Address.IsValid() {
		address, err := listenAddress(c.Listener)
		if err != nil {
			return err
		}
		c.Address = address
	}
	return nil
}

// listenAddress is the listener's address, or the host's own where it listens
// on all or on loopback, which other hosts cannot reach.
func listenAddress(l net.Listener) (netip.Addr, error) {
	at, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("address of the REST listener: %w", err)
	}
	if a := at.Addr(); !a.IsUnspecified() && !a.IsLoopback() {
		return at.Addr().Unmap(), nil
	}
	ip, err := utilnet.ChooseHostInterface()
	if err != nil {
		return netip.MustParseAddr("127.0.0.1"), nil //nolint:nilerr // a host without a network serves itself
	}
	address, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Addr{}, fmt.Errorf("address of this host: %v", ip)
	}
	return address.Unmap(), nil
}

func port(l net.Listener) int {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}
