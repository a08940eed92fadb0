package differential

import (
	"context"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/store"
	"coracle.local/tests/fixture"
	"coracle.local/tests/upstream"
)

// startUpstream runs upstream's server over an etcd of its own.
func startUpstream(t *testing.T, c *fixture.Cluster) *rest.Config {
	t.Helper()
	etcd, err := store.Open(context.Background(), store.Config{Dir: t.TempDir(), Volatile: true, Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	return upstream.Start(t, c, etcd.Endpoint, "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true")
}
