package authn_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"
	clocktesting "k8s.io/utils/clock/testing"

	"coracle.local/libs/pki"
	"coracle.local/services/apiserver/internal/auth/authn"
)

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func authority(t testing.TB, name string) *pki.Authority {
	t.Helper()
	ca, err := pki.NewAuthority(name, start)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca *pki.Authority, r pki.Request) []*x509.Certificate {
	t.Helper()
	r.Now = start
	c, err := ca.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{c.Certificate}
}

// tokens recognizes the tokens in it; "bad" is one of theirs that is wrong.
type tokens map[string]string

func (m tokens) AuthenticateToken(_ context.Context, token string, audiences []string) (*authn.Response, bool, error) {
	if token == "bad" {
		return nil, false, errors.New("expired")
	}
	name, ok := m[token]
	if !ok {
		return nil, false, nil
	}
	return &authn.Response{User: &user.DefaultInfo{Name: name}, Audiences: audiences}, true, nil
}

func TestAuthenticate(t *testing.T) {
	ca, proxyCA, other := authority(t, "kubernetes"), authority(t, "proxy"), authority(t, "other")
	client := issue(t, ca, pki.Request{CommonName: "alice", Groups: []string{"devs"}, Client: true})
	server := issue(t, ca, pki.Request{CommonName: "alice", Server: true, Hosts: []string{"x"}})
	short := issue(t, ca, pki.Request{CommonName: "alice", Client: true, Validity: time.Minute})
	stranger := issue(t, other, pki.Request{CommonName: "alice", Client: true})
	proxy := issue(t, proxyCA, pki.Request{CommonName: "front-proxy-client", Client: true})
	impostor := issue(t, proxyCA, pki.Request{CommonName: "somebody", Client: true})
	remote := http.Header{"X-Remote-User": {"bob"}, "X-Remote-Group": {"ops", "all"}, "X-Remote-Extra-Scopes%2fa": {"1"}, "X-Remote-Uid": {"7"}}

	tests := []struct {
		name        string
		credentials authn.Credentials
		after       time.Duration
		user        string
		groups      []string
	}{
		{name: "nothing", user: user.Anonymous, groups: []string{"system:unauthenticated"}},
		{name: "certificate", credentials: authn.Credentials{Certs: client}, user: "alice", groups: []string{"devs", "system:authenticated"}},
		{name: "certificate of another authority", credentials: authn.Credentials{Certs: stranger}},
		{name: "certificate of a server", credentials: authn.Credentials{Certs: server}},
		{name: "certificate that has ended", credentials: authn.Credentials{Certs: short}, after: time.Hour},
		{name: "token", credentials: authn.Credentials{Token: "t"}, user: "carol", groups: []string{"system:authenticated"}},
		{name: "unknown token", credentials: authn.Credentials{Token: "x"}},
		{name: "wrong token", credentials: authn.Credentials{Token: "bad"}},
		{name: "a token makes up for a certificate", credentials: authn.Credentials{Certs: stranger, Token: "t"}, user: "carol", groups: []string{"system:authenticated"}},
		{name: "a certificate comes before a token", credentials: authn.Credentials{Certs: client, Token: "t"}, user: "alice", groups: []string{"devs", "system:authenticated"}},
		{name: "proxy", credentials: authn.Credentials{Certs: proxy, Header: remote}, user: "bob", groups: []string{"ops", "all", "system:authenticated"}},
		{name: "proxy without a name", credentials: authn.Credentials{Certs: proxy}},
		{name: "proxy that is not allowed", credentials: authn.Credentials{Certs: impostor, Header: remote}},
		{name: "a client claims to be another", credentials: authn.Credentials{Certs: client, Header: remote}, user: "alice", groups: []string{"devs", "system:authenticated"}},
		{name: "headers alone", credentials: authn.Credentials{Header: remote}, user: user.Anonymous, groups: []string{"system:unauthenticated"}},
		{name: "within the process", credentials: authn.Credentials{Local: &user.DefaultInfo{Name: "me"}, Token: "bad"}, user: "me", groups: []string{"system:authenticated"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clock := clocktesting.NewFakeClock(start)
			a := authn.New(authn.Config{
				ClientCA: ca.Pool(), Tokens: []authn.Token{tokens{"t": "carol"}}, Anonymous: true, Clock: clock,
				RequestHeader: &authn.RequestHeader{
					CA: proxyCA.Pool(), AllowedNames: []string{"front-proxy-client"}, UsernameHeaders: []string{"X-Remote-User"},
					UIDHeaders: []string{"X-Remote-Uid"}, GroupHeaders: []string{"X-Remote-Group"}, ExtraHeaderPrefixes: []string{"X-Remote-Extra-"},
				},
			})
			// Twice: the second answer comes from memory.
			for range 2 {
				u, err := a.Authenticate(context.Background(), test.credentials)
				if test.after > 0 {
					clock.Step(test.after)
					u, err = a.Authenticate(context.Background(), test.credentials)
				}
				if test.user == "" {
					if !apierrors.IsUnauthorized(err) || err.Error() != "Unauthorized" {
						t.Fatalf("got %v, %v", u, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if u.GetName() != test.user || !reflect.DeepEqual(u.GetGroups(), test.groups) {
					t.Errorf("got %q %q", u.GetName(), u.GetGroups())
				}
				if test.user == "bob" && (u.GetUID() != "7" || !reflect.DeepEqual(u.GetExtra(), map[string][]string{"scopes/a": {"1"}})) {
					t.Errorf("got %q %v", u.GetUID(), u.GetExtra())
				}
				if test.user == "alice" && len(u.GetExtra()[user.CredentialIDKey]) != 1 {
					t.Errorf("no credential ID: %v", u.GetExtra())
				}
			}
		})
	}
}

func TestWithoutAnonymous(t *testing.T) {
	if _, err := authn.New(authn.Config{}).Authenticate(context.Background(), authn.Credentials{}); !apierrors.IsUnauthorized(err) {
		t.Error(err)
	}
}

func TestStrip(t *testing.T) {
	a := authn.New(authn.Config{RequestHeader: &authn.RequestHeader{
		CA: x509.NewCertPool(), UsernameHeaders: []string{"X-Remote-User"}, GroupHeaders: []string{"X-Remote-Group"}, ExtraHeaderPrefixes: []string{"X-Remote-Extra-"},
	}})
	h := http.Header{
		"Authorization": {"Bearer x"}, "X-Remote-User": {"a"}, "X-Remote-Group": {"b"}, "X-Remote-Extra-Foo": {"c"},
		"Impersonate-User": {"d"}, "Impersonate-Extra-Bar": {"e"}, "Accept": {"f"},
	}
	a.Strip(h)
	if !reflect.DeepEqual(h, http.Header{"Accept": {"f"}}) {
		t.Errorf("left %v", h)
	}
}

func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.csv")
	if err := os.WriteFile(path, []byte("one,alice,1,\"devs,ops\"\n,empty,2\ntwo,bob,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := authn.ReadTokenFile(path, []string{"api"}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, token string
		audiences   []string
		user        string
		groups      []string
	}{
		{"with groups", "one", nil, "alice", []string{"devs", "ops"}},
		{"without groups", "two", []string{"api"}, "bob", nil},
		{"for others", "two", []string{"vault"}, "", nil},
		{"unknown", "three", nil, "", nil},
		{"empty", "", nil, "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, ok, err := f.AuthenticateToken(context.Background(), test.token, test.audiences)
			if err != nil || ok != (test.user != "") {
				t.Fatalf("%v %v", ok, err)
			}
			if ok && (r.User.GetName() != test.user || !reflect.DeepEqual(r.User.GetGroups(), test.groups)) {
				t.Errorf("got %v", r.User)
			}
		})
	}
	if err := os.WriteFile(path, []byte("one,alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := authn.ReadTokenFile(path, nil, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "must have at least 3 columns (token, user name, user uid), found 2") {
		t.Error(err)
	}
}

func TestBearerToken(t *testing.T) {
	for header, want := range map[string]string{
		"Bearer abc": "abc", "bearer abc": "abc", " Bearer abc ": "abc", "Bearer abc def": "abc",
		"Bearer": "", "Bearer  abc": "", "Basic abc": "", "": "",
	} {
		if got := authn.BearerToken(header); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func TestFromRequest(t *testing.T) {
	r := &http.Request{Header: http.Header{
		"Upgrade":                {"websocket"},
		"Sec-Websocket-Protocol": {"v4.channel.k8s.io, base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte("secret"))},
	}}
	if c := authn.FromRequest(r); c.Token != "secret" {
		t.Errorf("token of a WebSocket %q", c.Token)
	}
	r.Header.Set("Authorization", "Bearer other")
	if c := authn.FromRequest(r); c.Token != "other" {
		t.Errorf("token %q", c.Token)
	}
}

func TestFromContext(t *testing.T) {
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("authorization", "Bearer t", "impersonate-user", "bob", ":authority", "x"))
	c := authn.FromContext(ctx)
	if c.Token != "t" || c.Header.Get("Impersonate-User") != "bob" || c.Local != nil {
		t.Errorf("got %+v", c)
	}
	certificate := &x509.Certificate{}
	info := credentials.TLSInfo{}
	info.State.PeerCertificates = []*x509.Certificate{certificate}
	if c := authn.FromContext(peer.NewContext(ctx, &peer.Peer{AuthInfo: info})); len(c.Certs) != 1 {
		t.Errorf("got %+v", c)
	}
	local := authn.Local{User: &user.DefaultInfo{Name: "me"}}
	if c := authn.FromContext(peer.NewContext(ctx, &peer.Peer{AuthInfo: local})); c.Local == nil {
		t.Errorf("got %+v", c)
	}
}

func BenchmarkCertificate(b *testing.B) {
	ca := authority(b, "kubernetes")
	a := authn.New(authn.Config{ClientCA: ca.Pool(), Clock: clocktesting.NewFakePassiveClock(start)})
	c := authn.Credentials{Certs: issue(b, ca, pki.Request{CommonName: "alice", Client: true})}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(context.Background(), c); err != nil {
			b.Fatal(err)
		}
	}
}

type warningToken struct{ asked int }

func (w *warningToken) AuthenticateToken(ctx context.Context, _ string, _ []string) (*authn.Response, bool, error) {
	w.asked++
	warning.AddWarning(ctx, "", "old")
	return &authn.Response{User: &user.DefaultInfo{Name: "joe"}}, true, nil
}

type heard []string

func (h *heard) AddWarning(_, text string) { *h = append(*h, text) }

// TestWarningsAreRepeated uses a token that one is warned of twice: the second
// time it is known already.
func TestWarningsAreRepeated(t *testing.T) {
	w := &warningToken{}
	a := authn.New(authn.Config{Tokens: []authn.Token{w}})
	for i := range 2 {
		var h heard
		if _, err := a.Authenticate(warning.WithWarningRecorder(context.Background(), &h), authn.Credentials{Token: "t"}); err != nil {
			t.Fatal(err)
		}
		if len(h) != 1 || h[0] != "old" || w.asked != 1 {
			t.Errorf("request %d: heard %q, asked %d times", i, h, w.asked)
		}
	}
}
