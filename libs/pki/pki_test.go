package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var issued = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func TestIssue(t *testing.T) {
	ca, err := NewAuthority("kubernetes", issued)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		request Request
		usage   x509.ExtKeyUsage
		host    string
		fails   bool
	}{
		{name: "client", request: Request{CommonName: "system:node:a", Groups: []string{"system:nodes"}, Client: true}, usage: x509.ExtKeyUsageClientAuth},
		{name: "server by name", request: Request{CommonName: "x", Server: true, Hosts: []string{"a.example", "10.0.0.1"}}, usage: x509.ExtKeyUsageServerAuth, host: "a.example"},
		{name: "server by address", request: Request{CommonName: "x", Server: true, Hosts: []string{"a.example", "10.0.0.1"}}, usage: x509.ExtKeyUsageServerAuth, host: "10.0.0.1"},
		{name: "no use", request: Request{CommonName: "x"}, fails: true},
		{name: "no name", request: Request{Client: true}, fails: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.request.Now = issued
			c, err := ca.Issue(test.request)
			if test.fails {
				if err == nil {
					t.Fatal("issued")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Certificate.Verify(x509.VerifyOptions{
				Roots: ca.Pool(), CurrentTime: issued, DNSName: test.host, KeyUsages: []x509.ExtKeyUsage{test.usage},
			})
			if err != nil {
				t.Error(err)
			}
			if got := c.Certificate.Subject; got.CommonName != test.request.CommonName || len(got.Organization) != len(test.request.Groups) {
				t.Errorf("subject %v", got)
			}
		})
	}
}

func TestCertificateNeverOutlivesAuthority(t *testing.T) {
	ca, err := NewAuthority("kubernetes", issued)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ca.Issue(Request{CommonName: "x", Client: true, Now: issued.Add(9 * 365 * 24 * time.Hour), Validity: 5 * DefaultValidity})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Certificate.NotAfter.Equal(ca.Certificate.NotAfter) {
		t.Errorf("valid until %v, authority until %v", c.Certificate.NotAfter, ca.Certificate.NotAfter)
	}
}

func TestHandshake(t *testing.T) {
	cluster, err := NewCluster(Options{Hosts: []string{"api.example"}})
	if err != nil {
		t.Fatal(err)
	}
	admin, err := cluster.Admin()
	if err != nil {
		t.Fatal(err)
	}
	config, err := cluster.Kubeconfig("https://api.example:6443", admin).TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	config.ServerName = "api.example"
	near, far := net.Pipe()
	seen := make(chan string, 1)
	go func() {
		server := tls.Server(far, &tls.Config{
			Certificates: []tls.Certificate{cluster.APIServer.TLS()},
			ClientCAs:    cluster.CA.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
		})
		defer func() { _ = server.Close() }()
		if err := server.Handshake(); err != nil {
			seen <- err.Error()
			return
		}
		seen <- server.ConnectionState().PeerCertificates[0].Subject.CommonName
	}()
	client := tls.Client(near, config)
	_, _ = io.ReadAll(client)
	if got := <-seen; got != "kubernetes-admin" {
		t.Errorf("server saw %q", got)
	}
	_ = client.Close()
}

func TestOpenCluster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	first, err := OpenCluster(dir, Options{Now: issued})
	if err != nil {
		t.Fatal(err)
	}
	same, err := OpenCluster(dir, Options{Now: issued})
	if err != nil {
		t.Fatal(err)
	}
	if !same.CA.Certificate.Equal(first.CA.Certificate) || !same.APIServer.Certificate.Equal(first.APIServer.Certificate) || !same.ServiceAccountKey.Equal(first.ServiceAccountKey) {
		t.Error("reopening made another cluster")
	}
	moved, err := OpenCluster(dir, Options{Now: issued, Hosts: []string{"192.0.2.7"}})
	if err != nil {
		t.Fatal(err)
	}
	if !moved.CA.Certificate.Equal(first.CA.Certificate) || !moved.APIServer.Covers([]string{"192.0.2.7"}) {
		t.Error("a new host must give a new serving certificate of the same authority")
	}
	later, err := OpenCluster(dir, Options{Now: issued.Add(350 * 24 * time.Hour), Hosts: []string{"192.0.2.7"}})
	if err != nil {
		t.Fatal(err)
	}
	if later.APIServer.Certificate.Equal(moved.APIServer.Certificate) {
		t.Error("an expiring certificate was kept")
	}
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ca.key: %v %v", info.Mode(), err)
	}
}

func TestOpenClusterRefusesBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenCluster(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A new authority here would lock every holder of a certificate out.
	if _, err := OpenCluster(dir, Options{}); err == nil {
		t.Error("a broken authority was replaced")
	}
}

func TestParsePublicKeys(t *testing.T) {
	ec, err := NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 1024) // small keys make a fast test
	if err != nil {
		t.Fatal(err)
	}
	ecPrivate, err := EncodeKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	rsaPrivate, err := EncodeKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	rsaPublic, err := EncodePublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := NewAuthority("a", issued)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Join([][]byte{
		ecPrivate, rsaPrivate, rsaPublic, ca.CertPEM,
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("junk")}),
	}, nil)
	keys, err := ParsePublicKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 5 {
		t.Fatalf("%d keys", len(keys))
	}
	if !ec.PublicKey.Equal(keys[0]) || !rsaKey.PublicKey.Equal(keys[1]) || !rsaKey.PublicKey.Equal(keys[2]) || !ec.PublicKey.Equal(keys[4]) {
		t.Error("keys differ")
	}
	if !keys[3].(*ecdsa.PublicKey).Equal(ca.Key.Public()) {
		t.Error("certificate's key differs")
	}
	if _, err := ParsePublicKeys([]byte("nothing")); err == nil {
		t.Error("keys out of nothing")
	}
}

func BenchmarkNewCluster(b *testing.B) {
	for b.Loop() {
		cluster, err := NewCluster(Options{Hosts: []string{"10.96.0.1"}})
		if err != nil {
			b.Fatal(err)
		}
		for _, issue := range []func() (*Credential, error){cluster.Admin, cluster.Scheduler, cluster.ControllerManager, cluster.Proxy} {
			if _, err := issue(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
