package authorization

import (
	"testing"

	"k8s.io/client-go/rest"

	"coracle.local/tests/fixture"
	"coracle.local/tests/upstream"
)

// startUpstream runs upstream's server over the cluster's own etcd, so that both
// see the same roles and pods; it takes many questions at once.
func startUpstream(t *testing.T, c *fixture.Cluster) *rest.Config {
	t.Helper()
	return upstream.Start(t, c, c.Etcd,
		"--enable-priority-and-fairness=false", "--max-requests-inflight=0", "--max-mutating-requests-inflight=0")
}
