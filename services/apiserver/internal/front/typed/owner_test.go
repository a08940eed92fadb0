package typed

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"
)

func TestManager(t *testing.T) {
	for name, test := range map[string]struct{ named, agent, want string }{
		"named by the request": {"applier", "kubelet/v1 grpc-go/1", "applier"},
		"the program":          {"", "kube-scheduler grpc-go/1.83.2", "kube-scheduler"},
		"with a version":       {"", "kubectl/v1.37.2 (linux/amd64) grpc-go/1.83.2", "kubectl"},
		"gRPC alone":           {"", "grpc-go/1.83.2", "grpc-go"},
		"nothing":              {"", "", ""},
		"what cannot be read":  {"", "a\tb\x01c/1", "abc"},
		"too long":             {"", strings.Repeat("ü", 100), strings.Repeat("ü", 64)},
	} {
		ctx := context.Background()
		if test.agent != "" {
			ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("user-agent", test.agent))
		}
		if got := manager(ctx, test.named); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
