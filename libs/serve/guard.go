package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Masters allows the group system:masters and, besides, the users named.
func Masters(users ...string) func(user.Info) bool {
	return func(u user.Info) bool {
		return slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) || slices.Contains(users, u.GetName())
	}
}

// Certificate reads the identity of a verified client certificate: the common
// name is the user, the organizations are the groups.
func Certificate(c *x509.Certificate) user.Info {
	return &user.DefaultInfo{Name: c.Subject.CommonName, Groups: c.Subject.Organization}
}

// open methods answer without an identity, as health does over HTTP.
func open(method string) bool { return strings.HasPrefix(method, "/grpc.health.v1.") }

func (c *Config) permit(state *tls.ConnectionState) error {
	if c.TLS == nil {
		return nil
	}
	if state == nil || len(state.VerifiedChains) == 0 {
		return apierrors.NewUnauthorized("a client certificate of the cluster's authority is needed")
	}
	allow := c.Allow
	if allow == nil {
		allow = Masters()
	}
	if u := Certificate(state.VerifiedChains[0][0]); !allow(u) {
		return apierrors.NewForbidden(schema.GroupResource{}, "", forbidden(u.GetName()))
	}
	return nil
}

type forbidden string

func (f forbidden) Error() string { return "user " + string(f) + " may not call this component" }

func (c *Config) permitPeer(ctx context.Context, method string) error {
	if open(method) {
		return nil
	}
	p, _ := peer.FromContext(ctx)
	if p != nil {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			return c.permit(&info.State)
		}
	}
	return c.permit(nil)
}

func (c *Config) guardUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := c.permitPeer(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

func (c *Config) guardStream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := c.permitPeer(s.Context(), info.FullMethod); err != nil {
		return err
	}
	return handle(srv, s)
}

func (c *Config) guardHTTP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := c.permit(r.TLS)
		switch {
		case err == nil:
			next.ServeHTTP(w, r)
		case apierrors.IsUnauthorized(err):
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
		default:
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
}
