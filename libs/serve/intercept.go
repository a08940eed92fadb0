package serve

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"coracle.local/libs/apistatus"
)

// maxRequest bounds one request in bytes: upstream's limit of 3 MiB for an
// object, and what surrounds it.
const maxRequest = 3<<20 + 64<<10

var keepalivePolicy = keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}

func translateUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(info.FullMethod, p)
		}
		err = apistatus.ToGRPC(err)
	}()
	return handle(ctx, request)
}

func translateStream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(info.FullMethod, p)
		}
		err = apistatus.ToGRPC(err)
	}()
	return handle(srv, s)
}

func panicked(method string, p any) error {
	return fmt.Errorf("%s panicked: %v\n%s", method, p, debug.Stack())
}
