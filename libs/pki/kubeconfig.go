package pki

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// grpcExtension names the extension of a kubeconfig's cluster that tells where
// the API server speaks gRPC. Other clients ignore extensions.
const grpcExtension = "grpc.coracle.local"

// Kubeconfig is one way into one cluster: the current context of a
// kubeconfig file with all it refers to.
type Kubeconfig struct {
	// Server is the URL of the API server. A URL without scheme is https.
	Server string
	// GRPC is the host:port of the same API server's gRPC; optional.
	GRPC string
	// CA is PEM; empty means the system's authorities.
	CA            []byte
	TLSServerName string
	Insecure      bool
	// Cert and Key are PEM; Token is a bearer token. TokenFile is set instead
	// of Token if the file names one: it is to be read again now and then.
	Cert, Key        []byte
	Token, TokenFile string
	// Cluster, User and Context name the entries; Namespace is the default of
	// the context. Empty names get upstream's usual ones when written.
	Cluster, User, Context, Namespace string
}

type grpcAddress struct {
	Address string `json:"address"`
}

// Marshal returns the kubeconfig file.
func (k *Kubeconfig) Marshal() ([]byte, error) {
	cluster, user := nonEmpty(k.Cluster, "kubernetes"), nonEmpty(k.User, "kubernetes-admin")
	context := nonEmpty(k.Context, user+"@"+cluster)
	entry := clientcmdv1.Cluster{
		Server: k.Server, CertificateAuthorityData: k.CA,
		TLSServerName: k.TLSServerName, InsecureSkipTLSVerify: k.Insecure,
	}
	if k.GRPC != "" {
		raw, err := json.Marshal(grpcAddress{Address: k.GRPC})
		if err != nil {
			return nil, fmt.Errorf("encode kubeconfig: %w", err)
		}
		entry.Extensions = []clientcmdv1.NamedExtension{{Name: grpcExtension, Extension: runtime.RawExtension{Raw: raw}}}
	}
	data, err := yaml.Marshal(clientcmdv1.Config{
		Kind: "Config", APIVersion: "v1", CurrentContext: context,
		Clusters: []clientcmdv1.NamedCluster{{Name: cluster, Cluster: entry}},
		AuthInfos: []clientcmdv1.NamedAuthInfo{{Name: user, AuthInfo: clientcmdv1.AuthInfo{
			ClientCertificateData: k.Cert, ClientKeyData: k.Key, Token: k.Token, TokenFile: k.TokenFile,
		}}},
		Contexts: []clientcmdv1.NamedContext{{Name: context, Context: clientcmdv1.Context{
			Cluster: cluster, AuthInfo: user, Namespace: k.Namespace,
		}}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}
	return data, nil
}

// Write saves the kubeconfig to a file that only its owner can read.
func (k *Kubeconfig) Write(path string) error {
	data, err := k.Marshal()
	if err != nil {
		return err
	}
	return writeFile(path, data, privateMode)
}

// ReadKubeconfig reads the current context of a kubeconfig file.
func ReadKubeconfig(path string) (*Kubeconfig, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k, err := ParseKubeconfig(data, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	return k, nil
}

// ParseKubeconfig reads the current context of a kubeconfig; file names in it
// are relative to dir. Ways to sign in that are not files or data (exec
// plugins, auth providers, passwords) are refused by name.
func ParseKubeconfig(data []byte, dir string) (*Kubeconfig, error) {
	var config clientcmdv1.Config
	if err := yaml.Unmarshal(data, &config); err != nil {
		return nil, err
	}
	if config.CurrentContext == "" {
		return nil, errors.New("no current-context is set")
	}
	k := &Kubeconfig{Context: config.CurrentContext}
	if err := k.readContext(&config); err != nil {
		return nil, err
	}
	if err := k.readCluster(&config, dir); err != nil {
		return nil, err
	}
	if err := k.readUser(&config, dir); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Kubeconfig) readContext(config *clientcmdv1.Config) error {
	for _, c := range config.Contexts {
		if c.Name == k.Context {
			k.Cluster, k.User, k.Namespace = c.Context.Cluster, c.Context.AuthInfo, c.Context.Namespace
			return nil
		}
	}
	return fmt.Errorf("context %q does not exist", k.Context)
}

func (k *Kubeconfig) readCluster(config *clientcmdv1.Config, dir string) error {
	for _, c := range config.Clusters {
		if c.Name != k.Cluster {
			continue
		}
		k.Server, k.TLSServerName, k.Insecure = c.Cluster.Server, c.Cluster.TLSServerName, c.Cluster.InsecureSkipTLSVerify
		if k.Server == "" {
			return fmt.Errorf("cluster %q has no server", k.Cluster)
		}
		if !strings.Contains(k.Server, "://") {
			k.Server = "https://" + k.Server
		}
		for _, extension := range c.Cluster.Extensions {
			if extension.Name != grpcExtension {
				continue
			}
			var address grpcAddress
			if err := json.Unmarshal(extension.Extension.Raw, &address); err != nil {
				return fmt.Errorf("extension %s of cluster %q: %w", grpcExtension, k.Cluster, err)
			}
			k.GRPC = address.Address
		}
		var err error
		k.CA, err = dataOrFile(c.Cluster.CertificateAuthorityData, c.Cluster.CertificateAuthority, dir)
		return err
	}
	return fmt.Errorf("cluster %q does not exist", k.Cluster)
}

func (k *Kubeconfig) readUser(config *clientcmdv1.Config, dir string) error {
	if k.User == "" {
		return nil
	}
	for _, u := range config.AuthInfos {
		if u.Name != k.User {
			continue
		}
		user := u.AuthInfo
		if user.Exec != nil || user.AuthProvider != nil || user.Username != "" {
			return fmt.Errorf("user %q signs in by exec plugin, auth provider or password, which is not supported", k.User)
		}
		k.Token = user.Token
		if k.Token == "" && user.TokenFile != "" {
			k.TokenFile = relativeTo(dir, user.TokenFile)
		}
		var err error
		if k.Cert, err = dataOrFile(user.ClientCertificateData, user.ClientCertificate, dir); err != nil {
			return err
		}
		k.Key, err = dataOrFile(user.ClientKeyData, user.ClientKey, dir)
		return err
	}
	return fmt.Errorf("user %q does not exist", k.User)
}

// TLSConfig returns what a client needs to reach the server as the user.
func (k *Kubeconfig) TLSConfig() (*tls.Config, error) {
	// Skipping verification is the user's own choice, in a file of theirs.
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: k.TLSServerName, InsecureSkipVerify: k.Insecure}
	if len(k.CA) > 0 {
		pool, err := ParsePool(k.CA)
		if err != nil {
			return nil, fmt.Errorf("certificate authority of cluster %q: %w", k.Cluster, err)
		}
		config.RootCAs = pool
	}
	if len(k.Cert) > 0 {
		certificate, err := tls.X509KeyPair(k.Cert, k.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate of user %q: %w", k.User, err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

func dataOrFile(data []byte, path, dir string) ([]byte, error) {
	if len(data) > 0 || path == "" {
		return data, nil
	}
	return os.ReadFile(relativeTo(dir, path))
}

func relativeTo(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func nonEmpty(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
