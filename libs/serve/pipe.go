package serve

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"k8s.io/apiserver/pkg/authentication/user"
)

// pipeBuffer is the bytes in flight in one direction of an in-memory connection: as
// much as HTTP/2 lets a stream have, and no more, since all of it stays resident once
// the ring was gone through.
const pipeBuffer = 128 << 10

// Pipe is an in-memory listener for components in the server's own process.
// Whoever holds it is trusted: each Dial says for whom it speaks.
type Pipe struct{ *bufconn.Listener }

// NewPipe returns an open pipe.
func NewPipe() Pipe { return Pipe{bufconn.Listen(pipeBuffer)} }

// identified is a connection that carries its user. The server's end learns it
// from the first bytes, since bufconn makes both ends alike.
type identified struct {
	net.Conn
	user user.Info
}

// Identity is the AuthInfo of a pipe's connection.
type Identity struct {
	credentials.CommonAuthInfo
	User user.Info
}

// AuthType implements credentials.AuthInfo.
func (Identity) AuthType() string { return "pipe" }

// Dial opens a connection that speaks for u. options are the client's own,
// such as client.DialOptions.
func (p Pipe) Dial(u user.Info, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	options = append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := p.DialContext(ctx)
			if err != nil {
				return nil, err
			}
			if err := writeIdentity(c, u); err != nil {
				_ = c.Close()
				return nil, fmt.Errorf("speak for %s: %w", u.GetName(), err)
			}
			return c, nil
		}))
	return grpc.NewClient("passthrough:///pipe", options...)
}

// Accept implements net.Listener.
func (p Pipe) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &identified{Conn: c}, nil
}

// Credentials accept TLS connections by cfg and connections of a Pipe.
func Credentials(cfg *tls.Config) credentials.TransportCredentials {
	if cfg == nil {
		return pipeOrTLS{insecure.NewCredentials()}
	}
	return pipeOrTLS{credentials.NewTLS(cfg)}
}

type pipeOrTLS struct {
	credentials.TransportCredentials
}

func (p pipeOrTLS) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	i, ok := c.(*identified)
	if !ok {
		return p.TransportCredentials.ServerHandshake(c)
	}
	u, err := readIdentity(i.Conn)
	if err != nil {
		return nil, nil, fmt.Errorf("read the identity of a pipe: %w", err)
	}
	i.user = u
	info := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return i, Identity{info, u}, nil
}

func (p pipeOrTLS) Clone() credentials.TransportCredentials {
	return pipeOrTLS{p.TransportCredentials.Clone()}
}
