package pki

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// renewBefore is how long before its end a kept certificate is made anew.
const renewBefore = 30 * 24 * time.Hour

// Options describe the cluster whose certificates are made.
type Options struct {
	// Hosts are further names and addresses of the API server, beside
	// localhost and the names of the kubernetes Service.
	Hosts []string
	// ClusterDomain is the DNS domain of Services, cluster.local if empty.
	ClusterDomain string
	// Now is the time of issue, the present if zero.
	Now time.Time
}

// Cluster is what a control plane starts from. Everybody else's credential is
// issued from CA when asked for. The file names are those of kubeadm.
type Cluster struct {
	CA                *Authority        // ca
	FrontProxyCA      *Authority        // front-proxy-ca, for aggregated API servers
	ServiceAccountKey *ecdsa.PrivateKey // sa.key, sa.pub
	APIServer         *Credential       // apiserver
	KubeletClient     *Credential       // apiserver-kubelet-client
	FrontProxyClient  *Credential       // front-proxy-client
}

// NewCluster makes everything in memory. It takes a few milliseconds.
func NewCluster(o Options) (*Cluster, error) {
	return (&builder{options: o}).build()
}

// OpenCluster reads a cluster's certificates from a folder, makes what is
// missing, expiring or lacks a host, and writes that back.
func OpenCluster(dir string, o Options) (*Cluster, error) {
	return (&builder{options: o, dir: dir}).build()
}

// builder makes or loads one file pair after the other; an empty dir keeps
// everything in memory.
type builder struct {
	options Options
	dir     string
}

func (b *builder) build() (*Cluster, error) {
	if b.options.Now.IsZero() {
		b.options.Now = time.Now()
	}
	var c Cluster
	var err error
	if c.CA, err = b.authority("ca", "kubernetes"); err != nil {
		return nil, err
	}
	if c.FrontProxyCA, err = b.authority("front-proxy-ca", "front-proxy-ca"); err != nil {
		return nil, err
	}
	if c.ServiceAccountKey, err = b.signingKey(); err != nil {
		return nil, err
	}
	serving := Request{CommonName: "kube-apiserver", Server: true, Hosts: b.options.hosts()}
	if c.APIServer, err = b.credential("apiserver", c.CA, serving); err != nil {
		return nil, err
	}
	kubelet := Request{CommonName: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}, Client: true}
	if c.KubeletClient, err = b.credential("apiserver-kubelet-client", c.CA, kubelet); err != nil {
		return nil, err
	}
	proxy := Request{CommonName: "front-proxy-client", Client: true}
	if c.FrontProxyClient, err = b.credential("front-proxy-client", c.FrontProxyCA, proxy); err != nil {
		return nil, err
	}
	return &c, nil
}

func (o Options) hosts() []string {
	domain := o.ClusterDomain
	if domain == "" {
		domain = "cluster.local"
	}
	hosts := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain,
		"localhost", "127.0.0.1", "::1",
	}
	seen := map[string]bool{}
	for _, host := range hosts {
		seen[host] = true
	}
	for _, host := range o.Hosts {
		if host != "" && !seen[host] {
			seen[host] = true
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (b *builder) authority(name, commonName string) (*Authority, error) {
	if b.dir != "" {
		a, err := LoadAuthority(filepath.Join(b.dir, name))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return a, err
		}
	}
	a, err := NewAuthority(commonName, b.options.Now)
	if err != nil || b.dir == "" {
		return a, err
	}
	return a, a.Save(filepath.Join(b.dir, name))
}

func (b *builder) credential(name string, ca *Authority, r Request) (*Credential, error) {
	r.Now = b.options.Now
	if b.dir != "" {
		c, err := LoadCredential(filepath.Join(b.dir, name))
		switch {
		case err == nil && b.usable(c, ca, r):
			return c, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	c, err := ca.Issue(r)
	if err != nil || b.dir == "" {
		return c, err
	}
	return c, c.Save(filepath.Join(b.dir, name))
}

func (b *builder) usable(c *Credential, ca *Authority, r Request) bool {
	return c.Certificate.CheckSignatureFrom(ca.Certificate) == nil &&
		c.Certificate.NotAfter.After(r.Now.Add(renewBefore)) && c.Covers(r.Hosts)
}

func (b *builder) signingKey() (*ecdsa.PrivateKey, error) {
	path := filepath.Join(b.dir, "sa.key")
	if b.dir != "" {
		data, err := os.ReadFile(path)
		if err == nil {
			return parseSigningKey(path, data)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	key, err := NewSigningKey()
	if err != nil || b.dir == "" {
		return key, err
	}
	private, err := EncodeKey(key)
	if err != nil {
		return nil, err
	}
	public, err := EncodePublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(b.dir, "sa.pub"), public, publicMode); err != nil {
		return nil, err
	}
	return key, writeFile(path, private, privateMode)
}

func parseSigningKey(path string, data []byte) (*ecdsa.PrivateKey, error) {
	signer, err := ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	key, ok := signer.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read %s: not an ECDSA key", path)
	}
	return key, nil
}
