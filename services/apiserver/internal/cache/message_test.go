package cache

import (
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/etcd"
)

func sealed(t *testing.T, apiVersion, kind string, o kinds.Object) []byte {
	t.Helper()
	b, err := etcd.Seal(apiVersion, kind, o.Size(), o.MarshalToSizedBuffer)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMessage(t *testing.T) {
	m := &corev1.ConfigMap{Data: map[string]string{"k": "v"}}
	bundle := &certificatesv1.ClusterTrustBundle{Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: "s"}}
	for _, row := range []struct {
		name  string
		kind  *kinds.Kind
		value []byte
		want  string // in the error
	}{
		{"its own kind", kinds.For[*corev1.ConfigMap](), sealed(t, "v1", "ConfigMap", m), ""},
		{"as JSON", kinds.For[*corev1.ConfigMap](), []byte(`{"apiVersion":"v1","kind":"ConfigMap","data":{"k":"v"}}`), ""},
		{"of upstream's version", kinds.For[*certificatesv1.ClusterTrustBundle](), sealed(t, "certificates.k8s.io/v1beta1", "ClusterTrustBundle", bundle), ""},
		{"of the served version", kinds.For[*certificatesv1.ClusterTrustBundle](), sealed(t, "certificates.k8s.io/v1", "ClusterTrustBundle", bundle), ""},
		{"another kind", kinds.For[*corev1.ConfigMap](), sealed(t, "v1", "Secret", m), "the stored object is a Secret of v1, not a ConfigMap of v1"},
		{"another version", kinds.For[*corev1.ConfigMap](), sealed(t, "v2", "ConfigMap", m), "the stored object is a ConfigMap of v2, not a ConfigMap of v1"},
		{"another kind as JSON", kinds.For[*corev1.ConfigMap](), []byte(`{"apiVersion":"v1","kind":"Secret"}`), "the stored object is a Secret of v1"},
		{"garbage", kinds.For[*corev1.ConfigMap](), []byte("garbage"), "invalid character"},
		{"an envelope that is cut", kinds.For[*corev1.ConfigMap](), sealed(t, "v1", "ConfigMap", m)[:9], "malformed protobuf envelope"},
	} {
		t.Run(row.name, func(t *testing.T) {
			message, err := Message(row.kind, row.value)
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Fatalf("got %v, want %s", err, row.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := row.kind.New().Unmarshal(message); err != nil || len(message) == 0 {
				t.Errorf("message of %d bytes: %v", len(message), err)
			}
		})
	}
}

// TestOlderDefinition reads a CustomResourceDefinition as upstream stores it.
func TestOlderDefinition(t *testing.T) {
	const stored = `{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1","metadata":{"name":"things.example.com"},
		"spec":{"group":"example.com","version":"v1","names":{"plural":"things","kind":"Thing"},"scope":"Namespaced",
			"validation":{"openAPIV3Schema":{"type":"object"}},"subresources":{"status":{}},
			"additionalPrinterColumns":[{"name":"Size","type":"string","JSONPath":".spec.size"}],
			"versions":[{"name":"v1","served":true,"storage":true},{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"string"}}}],
			"conversion":{"strategy":"Webhook","webhookClientConfig":{"url":"https://example.com"},"conversionReviewVersions":["v1"]}}}`
	message, err := Message(kinds.For[*apiextensionsv1.CustomResourceDefinition](), []byte(stored))
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := crd.Unmarshal(message); err != nil {
		t.Fatal(err)
	}
	if len(crd.Spec.Versions) != 2 {
		t.Fatalf("versions %+v", crd.Spec.Versions)
	}
	for i, typ := range []string{"object", "string"} {
		v := crd.Spec.Versions[i]
		if v.Schema == nil || v.Schema.OpenAPIV3Schema.Type != typ || v.Subresources == nil || v.Subresources.Status == nil ||
			len(v.AdditionalPrinterColumns) != 1 || v.AdditionalPrinterColumns[0].JSONPath != ".spec.size" {
			t.Errorf("version %s: %+v", v.Name, v)
		}
	}
	if c := crd.Spec.Conversion; c == nil || c.Strategy != "Webhook" || c.Webhook == nil || *c.Webhook.ClientConfig.URL != "https://example.com" || c.Webhook.ConversionReviewVersions[0] != "v1" {
		t.Errorf("conversion %+v", crd.Spec.Conversion)
	}
}
