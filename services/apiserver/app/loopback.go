package app

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"net/http"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	"coracle.local/services/apiserver/internal/auth/authn"
)

// Loopback is a token that is never written down, by which a component in the
// server's own process calls its REST port as a user.
type Loopback struct {
	// User is who the component is.
	User  user.Info
	token string
}

// NewLoopback makes a token for a user.
func NewLoopback(u user.Info) *Loopback { return &Loopback{User: u, token: rand.Text()} }

// AuthenticateToken implements authn.Token.
func (l *Loopback) AuthenticateToken(_ context.Context, token string, audiences []string) (*authn.Response, bool, error) {
	if subtle.ConstantTimeCompare([]byte(token), []byte(l.token)) != 1 {
		return nil, false, nil
	}
	return &authn.Response{User: l.User, Audiences: audiences}, true, nil
}

// REST is how the component calls the server of a Config: it takes no other
// certificate than that server's for it.
func (l *Loopback) REST(c *Config) *rest.Config {
	own := c.Certificate
	verify := func(s tls.ConnectionState) error {
		if len(own.Certificate) == 0 || len(s.PeerCertificates) == 0 || subtle.ConstantTimeCompare(s.PeerCertificates[0].Raw, own.Certificate[0]) != 1 {
			return errors.New("somebody else answers at the API server's port")
		}
		return nil
	}
	return &rest.Config{Host: "https://" + c.Listener.Addr().String(), BearerToken: l.token, Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		//nolint:gosec // verified by VerifyConnection, against the one certificate there is
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, VerifyConnection: verify},
	}}
}
