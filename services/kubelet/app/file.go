package app

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// setting is a line of a configuration file as the flag it stands for.
type setting struct{ flag, value string }

// fileConfig is the part of a KubeletConfiguration that applies here.
type fileConfig struct {
	Kind               string            `json:"kind"`
	Address            string            `json:"address"`
	Port               *int              `json:"port"`
	TLSCertFile        string            `json:"tlsCertFile"`
	TLSPrivateKeyFile  string            `json:"tlsPrivateKeyFile"`
	ClusterDNS         []string          `json:"clusterDNS"`
	ClusterDomain      string            `json:"clusterDomain"`
	MaxPods            *int              `json:"maxPods"`
	PodCIDR            string            `json:"podCIDR"`
	ResolvConf         *string           `json:"resolvConf"`
	RegisterNode       *bool             `json:"registerNode"`
	ProviderID         string            `json:"providerID"`
	PodLogsDir         string            `json:"podLogsDir"`
	SystemReserved     map[string]string `json:"systemReserved"`
	KubeReserved       map[string]string `json:"kubeReserved"`
	EvictionHard       map[string]string `json:"evictionHard"`
	RegisterWithTaints []struct {
		Key, Value, Effect string
	} `json:"registerWithTaints"`
	Authentication struct {
		X509 struct {
			ClientCAFile string `json:"clientCAFile"`
		} `json:"x509"`
	} `json:"authentication"`
}

// fileSettings reads a KubeletConfiguration.
func fileSettings(data []byte) ([]setting, error) {
	var c fileConfig
	if err := yaml.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	if c.Kind != "KubeletConfiguration" {
		return nil, fmt.Errorf("kind is %q, not KubeletConfiguration", c.Kind)
	}
	var out []setting
	set := func(flag, value string) {
		if value != "" {
			out = append(out, setting{flag, value})
		}
	}
	set("address", c.Address)
	if c.Port != nil {
		set("port", strconv.Itoa(*c.Port))
	}
	set("tls-cert-file", c.TLSCertFile)
	set("tls-private-key-file", c.TLSPrivateKeyFile)
	set("client-ca-file", c.Authentication.X509.ClientCAFile)
	set("cluster-dns", strings.Join(c.ClusterDNS, ","))
	set("cluster-domain", c.ClusterDomain)
	if c.MaxPods != nil {
		set("max-pods", strconv.Itoa(*c.MaxPods))
	}
	set("pod-cidr", c.PodCIDR)
	if c.ResolvConf != nil {
		out = append(out, setting{"resolv-conf", *c.ResolvConf}) // empty has a meaning
	}
	if c.RegisterNode != nil {
		set("register-node", strconv.FormatBool(*c.RegisterNode))
	}
	set("provider-id", c.ProviderID)
	set("pod-logs-dir", c.PodLogsDir)
	set("system-reserved", pairs(c.SystemReserved, "="))
	set("kube-reserved", pairs(c.KubeReserved, "="))
	set("eviction-hard", pairs(c.EvictionHard, "<"))
	var taints []string
	for _, t := range c.RegisterWithTaints {
		taints = append(taints, t.Key+"="+t.Value+":"+t.Effect)
	}
	set("register-with-taints", strings.Join(taints, ","))
	return out, nil
}

func pairs(m map[string]string, between string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+between+m[k])
	}
	return strings.Join(out, ",")
}
