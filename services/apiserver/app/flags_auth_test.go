package app

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"coracle.local/libs/pki"
)

func parsed(t *testing.T, args ...string) *Flags {
	t.Helper()
	var f Flags
	fs := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	f.Add(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &f
}

func TestAuthFlags(t *testing.T) {
	tests := []struct {
		name  string
		args  []string
		wrong string
		check func(*Config) bool
	}{
		{name: "without a mode", check: func(c *Config) bool {
			return slices.Equal(c.AuthorizationModes, []string{"AlwaysAllow"}) && c.NoAnonymous
		}},
		{name: "everything is allowed, anonymous wanted", args: []string{"--authorization-mode=RBAC,AlwaysAllow", "--anonymous-auth=true"}, check: func(c *Config) bool { return c.NoAnonymous }},
		{name: "RBAC", args: []string{"--authorization-mode=Node,RBAC"}, check: func(c *Config) bool { return !c.NoAnonymous }},
		{name: "a configuration in place of modes", args: []string{"--authorization-config=x"}, check: func(c *Config) bool { return len(c.AuthorizationModes) == 0 && !c.NoAnonymous }},
		{name: "a configuration beside modes", args: []string{"--authorization-config=x", "--authorization-mode=RBAC"}, wrong: "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined"},
		{name: "half a provider", args: []string{"--oidc-issuer-url=https://x"}, wrong: "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"},
		{name: "a provider beside a configuration", args: []string{"--oidc-issuer-url=https://x", "--authentication-config=y"}, wrong: "authentication-config file and oidc-* flags are mutually exclusive"},
		{name: "claims", args: []string{"--oidc-issuer-url=https://x", "--oidc-client-id=y", "--oidc-required-claim=a=b=c", "--oidc-required-claim=d=e,f=g"}, check: func(c *Config) bool {
			r := c.Authentication.OIDC.RequiredClaims
			return len(r) == 2 && r["a"] == "b=c" && r["d"] == "e,f=g"
		}},
		{name: "a claim without a value", args: []string{"--oidc-issuer-url=https://x", "--oidc-client-id=y", "--oidc-required-claim=a"}, wrong: "malformed pair, expect string=string: --oidc-required-claim=a"},
		{name: "an issuer twice", args: []string{"--service-account-issuer=a", "--service-account-issuer=a"}, wrong: `service-account-issuer "a" is already specified`},
		{name: "an issuer with a comma", args: []string{"--service-account-issuer=a,b"}, check: func(c *Config) bool { return slices.Equal(c.Issuers, []string{"a,b"}) }},
		{name: "an empty header", args: []string{"--requestheader-group-headers= "}, wrong: `empty value in "requestheader-group-headers"`},
		{name: "a UID header of one's own", args: []string{"--requestheader-uid-headers=X-Uid"}, wrong: "--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - API aggregation will not work"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := parsed(t, test.args...)
			c := &Config{Log: zap.NewNop()}
			err := f.auth.apply(c)
			switch {
			case err != nil && err.Error() != test.wrong, err == nil && test.wrong != "":
				t.Fatalf("%v, want %q", err, test.wrong)
			case err != nil:
				return
			}
			c.harden()
			if !test.check(c) {
				t.Errorf("configured %+v", c)
			}
		})
	}
}

// TestCertDir makes a certificate once, and finds it again.
func TestCertDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	f := parsed(t, "--cert-dir="+dir, "--service-cluster-ip-range=10.0.0.0/24", "--bind-address=127.0.0.1")
	first, err := f.selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(first.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "kubernetes.default.svc", "10.0.0.1"} {
		if err := leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	pem, err := os.ReadFile(filepath.Join(dir, "apiserver.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost"}); err != nil {
		t.Errorf("the file is not what clients can trust: %v", err)
	}
	again, err := f.selfSigned()
	if err != nil || !slices.Equal(again.Certificate[0], first.Certificate[0]) {
		t.Errorf("another certificate at the second start, %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "apiserver.key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.selfSigned(); err == nil {
		t.Error("a broken key is used")
	}
}

// TestProxiesAreNotEverybody trusts the headers of a proxy whose authority is
// that of all clients: only with its name.
func TestProxiesAreNotEverybody(t *testing.T) {
	save := func(name string) string {
		ca, err := pki.NewAuthority(name, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, ca.CertPEM, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	clients, proxies := save("clients"), save("proxies")
	for name, test := range map[string]struct {
		args  []string
		wrong bool
	}{
		"the same authority":         {[]string{"--requestheader-client-ca-file=" + clients}, true},
		"the same, with a name":      {[]string{"--requestheader-client-ca-file=" + clients, "--requestheader-allowed-names=front"}, false},
		"an authority of their own":  {[]string{"--requestheader-client-ca-file=" + proxies}, false},
		"nobody speaks for somebody": {nil, false},
	} {
		f := parsed(t, append(test.args, "--client-ca-file="+clients)...)
		cfg := &Config{Log: zap.NewNop()}
		if err := f.keys(cfg); err != nil {
			t.Fatal(err)
		}
		if err := f.proxy(cfg); (err != nil) != test.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}
