package oracle

import (
	"testing"

	"k8s.io/client-go/rest"

	"coracle.local/tests/fixture"
	"coracle.local/tests/upstream"
)

// startUpstream runs upstream's server over the cluster's own etcd, with more
// flags if need be.
func startUpstream(t testing.TB, c *fixture.Cluster, flags ...string) *rest.Config {
	t.Helper()
	return upstream.Start(t, c, c.Etcd, flags...)
}
