package authn

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"k8s.io/apiserver/pkg/authentication/user"
)

// FromRequest takes the credentials out of an HTTP request.
func FromRequest(r *http.Request) Credentials {
	c := Credentials{Token: BearerToken(r.Header.Get("Authorization")), Header: r.Header}
	if r.URL != nil {
		c.Path = r.URL.Path
	}
	if r.TLS != nil {
		c.Certs = r.TLS.PeerCertificates
	}
	if c.Token == "" {
		c.Token = webSocketToken(r)
	}
	return c
}

// FromContext takes the credentials out of the context of a gRPC call. The
// headers of HTTP come as metadata of the same names in lower case.
func FromContext(ctx context.Context) Credentials {
	var c Credentials
	if p, ok := peer.FromContext(ctx); ok {
		switch info := p.AuthInfo.(type) {
		case Local:
			c.Local = info.User
		case credentials.TLSInfo:
			c.Certs = info.State.PeerCertificates
		}
	}
	md, _ := metadata.FromIncomingContext(ctx)
	c.Header = http.Header{}
	for name, values := range md {
		if !strings.HasPrefix(name, ":") {
			c.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	c.Token = BearerToken(c.Header.Get("Authorization"))
	return c
}

// Local is the credentials.AuthInfo of a connection within the process: the
// caller needs no certificate, since only this program can open one.
type Local struct {
	credentials.CommonAuthInfo
	User user.Info
}

// AuthType names the kind of connection.
func (Local) AuthType() string { return "local" }

const webSocketTokenPrefix = "base64url.bearer.authorization.k8s.io."

// webSocketToken reads the token that a browser, which cannot set headers on
// a WebSocket, hides in the list of subprotocols.
func webSocketToken(r *http.Request) string {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return ""
	}
	for _, list := range r.Header.Values("Sec-Websocket-Protocol") {
		for _, protocol := range strings.Split(list, ",") {
			encoded, ok := strings.CutPrefix(strings.TrimSpace(protocol), webSocketTokenPrefix)
			if !ok {
				continue
			}
			token, err := base64.RawURLEncoding.DecodeString(encoded)
			if err == nil && len(token) > 0 && utf8.Valid(token) {
				return string(token)
			}
		}
	}
	return ""
}
