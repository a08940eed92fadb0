package serve

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"coracle.local/libs/pki"
)

// TLSFiles are a component's flags for its port, as upstream's.
type TLSFiles struct {
	Cert, Key string
	// ClientCA signs those who may call; empty takes the authority of
	// Kubeconfig.
	ClientCA, Kubeconfig string
}

// AddFlags declares the flags; Kubeconfig is the caller's.
func (f *TLSFiles) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.Cert, "tls-cert-file", "", "the port's certificate (default: one made at the start)")
	fs.StringVar(&f.Key, "tls-private-key-file", "", "the key of --tls-cert-file")
	fs.StringVar(&f.ClientCA, "client-ca-file", "", "the authority of those who may call (default: the kubeconfig's)")
}

// Config reads the files. Without a certificate one is made for the name, which
// callers cannot verify, as upstream's components do.
func (f *TLSFiles) Config(name string) (*tls.Config, error) {
	certificate, err := f.certificate(name)
	if err != nil {
		return nil, err
	}
	ca, err := f.authority()
	if err != nil {
		return nil, err
	}
	// Without an authority nobody is known by a certificate; an empty pool says
	// so, where none at all would mean the machine's.
	pool := x509.NewCertPool()
	if len(ca) > 0 && !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("the client authority holds no certificate in PEM: set --client-ca-file")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, ClientCAs: pool}, nil
}

func (f *TLSFiles) certificate(name string) (tls.Certificate, error) {
	if f.Cert != "" || f.Key != "" {
		c, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return c, fmt.Errorf("read --tls-cert-file and --tls-private-key-file: %w", err)
		}
		return c, nil
	}
	ca, err := pki.NewAuthority(name, time.Time{})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make an authority: %w", err)
	}
	own, err := ca.Issue(pki.Request{CommonName: name, Server: true, Hosts: []string{name, "localhost", "127.0.0.1"}})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return own.TLS(), nil
}

func (f *TLSFiles) authority() ([]byte, error) {
	if f.ClientCA != "" {
		b, err := os.ReadFile(f.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("read --client-ca-file: %w", err)
		}
		return b, nil
	}
	if f.Kubeconfig == "" {
		return nil, nil
	}
	k, err := pki.ReadKubeconfig(f.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the authority of --kubeconfig: %w", err)
	}
	return k.CA, nil
}
