package pki

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestKubeconfigRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "config")
	want := &Kubeconfig{
		Server: "https://127.0.0.1:6443", GRPC: "127.0.0.1:6444", CA: []byte("ca"), TLSServerName: "kubernetes",
		Cert: []byte("cert"), Key: []byte("key"), Token: "t",
		Cluster: "coracle", User: "me", Context: "here", Namespace: "orange",
	}
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadKubeconfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestKubeconfigDefaultNames(t *testing.T) {
	data, err := (&Kubeconfig{Server: "https://x"}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "current-context: kubernetes-admin@kubernetes") {
		t.Errorf("names:\n%s", data)
	}
	if strings.Contains(string(data), "extensions") {
		t.Errorf("extension without an address:\n%s", data)
	}
}

func TestParseKubeconfig(t *testing.T) {
	const tail = `
contexts: [{name: c, context: {cluster: k, user: u}}]
current-context: c
`
	dir := t.TempDir()
	for name, data := range map[string]string{"ca.crt": "CA", "me.crt": "CERT", "me.key": "KEY"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, config, fails string
		want                Kubeconfig
	}{
		{
			name: "files and a bare host",
			config: `
clusters: [{name: k, cluster: {server: "host:1", certificate-authority: ca.crt}}]
users: [{name: u, user: {client-certificate: me.crt, client-key: me.key, tokenFile: token}}]` + tail,
			want: Kubeconfig{
				Server: "https://host:1", CA: []byte("CA"), Cert: []byte("CERT"), Key: []byte("KEY"),
				TokenFile: filepath.Join(dir, "token"), Cluster: "k", User: "u", Context: "c",
			},
		},
		{name: "no such cluster", config: `users: [{name: u, user: {}}]` + tail, fails: `cluster "k" does not exist`},
		{name: "no such user", config: `clusters: [{name: k, cluster: {server: x}}]` + tail, fails: `user "u" does not exist`},
		{name: "no context", config: `clusters: []`, fails: "no current-context is set"},
		{
			name: "exec plugin",
			config: `
clusters: [{name: k, cluster: {server: x}}]
users: [{name: u, user: {exec: {command: aws}}}]` + tail,
			fails: `user "u" signs in by exec plugin, auth provider or password, which is not supported`,
		},
		{
			name: "missing file",
			config: `
clusters: [{name: k, cluster: {server: x, certificate-authority: none.crt}}]
users: [{name: u, user: {}}]` + tail,
			fails: "no such file",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseKubeconfig([]byte(test.config), dir)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("error %v, want %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, test.want) {
				t.Errorf("got %+v, want %+v", *got, test.want)
			}
		})
	}
}
