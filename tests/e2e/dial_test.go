package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"coracle.local/libs/client"
	"coracle.local/tests/fixture"
)

// dial connects over gRPC by a kubeconfig, as a component on another machine
// does, with a user's credentials.
func dial(t *testing.T, c *fixture.Cluster, user *rest.Config) *client.Conn {
	t.Helper()
	raw, err := os.ReadFile(c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.Load(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{
			Token: user.BearerToken, ClientCertificateData: user.CertData, ClientKeyData: user.KeyData,
		}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	conn, err := client.Connect(client.Config{Kubeconfig: path, UserAgent: "e2e"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
