package bootstrap

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Authentication is how this API server recognizes clients, published in
// kube-system so that aggregated API servers do likewise.
type Authentication struct {
	ClientCA []byte // PEM
	// RequestHeaderCA is PEM; the header settings are published with it.
	RequestHeaderCA     []byte
	AllowedNames        []string
	UsernameHeaders     []string
	UIDHeaders          []string
	GroupHeaders        []string
	ExtraHeaderPrefixes []string
}

const (
	clientCAKey        = "client-ca-file"
	requestHeaderCAKey = "requestheader-client-ca-file"
)

func (a Authentication) configMap() (*corev1.ConfigMap, error) {
	data := map[string]string{}
	if len(a.ClientCA) > 0 {
		data[clientCAKey] = string(a.ClientCA)
	}
	if len(a.RequestHeaderCA) > 0 {
		data[requestHeaderCAKey] = string(a.RequestHeaderCA)
		lists := map[string][]string{
			"requestheader-allowed-names":        a.AllowedNames,
			"requestheader-username-headers":     a.UsernameHeaders,
			"requestheader-group-headers":        a.GroupHeaders,
			"requestheader-extra-headers-prefix": a.ExtraHeaderPrefixes,
		}
		if len(a.UIDHeaders) > 0 {
			lists["requestheader-uid-headers"] = a.UIDHeaders
		}
		for key, list := range lists {
			if list == nil {
				list = []string{} // readers expect a list, never null
			}
			encoded, err := json.Marshal(list)
			if err != nil {
				return nil, fmt.Errorf("encode %s: %w", key, err)
			}
			data[key] = string(encoded)
		}
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "extension-apiserver-authentication"},
		Data:       data,
	}, nil
}

// mergeAuthentication keeps what other API servers of the cluster have
// published: certificates and names are joined, never dropped.
func mergeAuthentication(existing, wanted map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range existing {
		out[key] = value
	}
	for key, value := range wanted {
		switch old, ok := out[key]; {
		case !ok || old == "":
			out[key] = value
		case key == clientCAKey || key == requestHeaderCAKey:
			out[key] = joinCertificates(old, value)
		default:
			out[key] = joinLists(old, value)
		}
	}
	return out
}

func joinCertificates(a, b string) string {
	var seen [][]byte
	var out bytes.Buffer
	for _, data := range []string{a, b} {
		for block, rest := pem.Decode([]byte(data)); block != nil; block, rest = pem.Decode(rest) {
			if slices.ContainsFunc(seen, func(der []byte) bool { return bytes.Equal(der, block.Bytes) }) {
				continue
			}
			seen = append(seen, block.Bytes)
			out.Write(pem.EncodeToMemory(block))
		}
	}
	if out.Len() == 0 {
		return b
	}
	return out.String()
}

// joinLists joins two JSON lists; one that cannot be read gives way.
func joinLists(a, b string) string {
	var first, second []string
	if json.Unmarshal([]byte(a), &first) != nil || json.Unmarshal([]byte(b), &second) != nil {
		return b
	}
	for _, s := range second {
		if !slices.Contains(first, s) {
			first = append(first, s)
		}
	}
	encoded, err := json.Marshal(first)
	if err != nil {
		return b
	}
	return string(encoded)
}
