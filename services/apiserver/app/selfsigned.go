package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.uber.org/zap"

	"coracle.local/libs/pki"
)

// selfSigned is the certificate of a server that was given none: that of
// --cert-dir, which is made there once, or else one for this run.
func (f *Flags) selfSigned() (tls.Certificate, error) {
	cert, key := filepath.Join(f.certDir, "apiserver.crt"), filepath.Join(f.certDir, "apiserver.key")
	if f.certDir != "" {
		own, err := tls.LoadX509KeyPair(cert, key)
		if !errors.Is(err, os.ErrNotExist) {
			return own, err
		}
	}
	ca, err := pki.NewAuthority("apiserver-ca", time.Time{})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make an authority: %w", err)
	}
	own, err := ca.Issue(pki.Request{CommonName: "apiserver", Server: true, Hosts: f.hosts()})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	if f.certDir == "" {
		return own.TLS(), nil
	}
	if err := os.MkdirAll(f.certDir, 0o755); err != nil {
		return tls.Certificate{}, fmt.Errorf("--cert-dir: %w", err)
	}
	// Clients trust the file: it has the authority, too.
	if err := os.WriteFile(cert, append(own.CertPEM, ca.CertPEM...), 0o644); err != nil {
		return tls.Certificate{}, fmt.Errorf("--cert-dir: %w", err)
	}
	if err := os.WriteFile(key, own.KeyPEM, 0o600); err != nil {
		return tls.Certificate{}, fmt.Errorf("--cert-dir: %w", err)
	}
	return tls.LoadX509KeyPair(cert, key)
}

// hosts are the names by which clients reach a server that has no certificate.
func (f *Flags) hosts() []string {
	out := []string{"localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	if network, err := netip.ParsePrefix(f.serviceRange); err == nil {
		out = append(out, network.Masked().Addr().Next().String())
	}
	for _, address := range []string{f.advertise, f.bindAddress} {
		if a, err := netip.ParseAddr(address); err == nil && !a.IsUnspecified() {
			out = append(out, a.String())
		}
	}
	return out
}

// listenGRPC opens the port of gRPC. The one beside REST's is only a custom: our
// components ask the REST port for the number, so that any other will do.
func (f *Flags) listenGRPC(cfg *Config) (net.Listener, error) {
	open := func(port int) (net.Listener, error) {
		return net.Listen("tcp", net.JoinHostPort(f.bindAddress, strconv.Itoa(port)))
	}
	if f.auth.fs.Changed("grpc-port") || f.securePort == 0 {
		return open(f.grpcPort)
	}
	if l, err := open(f.securePort + 1); err == nil {
		return l, nil
	}
	cfg.Log.Warn("the port of gRPC is taken, another is used", zap.Int("port", f.securePort+1))
	return open(0)
}
