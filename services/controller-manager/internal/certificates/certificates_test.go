package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

var clientUsages = []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}

func key(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func authority(t *testing.T, end time.Time) Authority {
	k := key(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: workbench.Epoch.Add(-time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return Authority{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}
}

func request(t *testing.T, signer string, x x509.CertificateRequest, usages ...certificatesv1.KeyUsage) *certificatesv1.CertificateSigningRequest {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x, key(t))
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: certificatesv1.CertificateSigningRequestSpec{
		SignerName: signer, Usages: usages, Username: "system:node:n", Groups: []string{"system:nodes"},
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
	}}
}

func approved(r *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequest {
	r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, LastUpdateTime: metav1.NewTime(workbench.Epoch),
	}}
	return r
}

func node(name string) x509.CertificateRequest {
	return x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: []string{"system:nodes"}}}
}

func signed(t *testing.T, b *workbench.Bench) (*certificatesv1.CertificateSigningRequest, *x509.Certificate) {
	r := workbench.Get[*certificatesv1.CertificateSigningRequest](b, "", "r")
	block, _ := pem.Decode(r.Status.Certificate)
	if block == nil {
		return r, nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func TestSigns(t *testing.T) {
	far := workbench.Epoch.Add(20000 * time.Hour)
	short := approved(request(t, certificatesv1.KubeAPIServerClientSignerName, x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}, clientUsages...))
	short.Spec.ExpirationSeconds = ptr.To[int32](3600)
	tiny := short.DeepCopy()
	tiny.Spec.ExpirationSeconds = ptr.To[int32](600 - 1)
	unapproved := short.DeepCopy()
	unapproved.Status.Conditions = nil
	plain := short.DeepCopy()
	plain.Spec.ExpirationSeconds = nil
	for name, c := range map[string]struct {
		request *certificatesv1.CertificateSigningRequest
		ca      time.Time
		lives   time.Duration // 0 is no certificate
		failure string
	}{
		"as long as allowed":    {plain, far, 8760*time.Hour - backdate, ""},
		"as long as the signer": {plain, workbench.Epoch.Add(time.Hour), time.Hour, ""},
		"as long as asked":      {short, far, time.Hour, ""},
		"never too short":       {tiny, far, shortest, ""},
		"not approved":          {unapproved, far, 0, ""},
		"another signer":        {approved(request(t, "example.com/x", node("n"))), far, 0, ""},
		"anything for legacy":   {approved(request(t, legacyUnknown, node("x"), certificatesv1.UsageAny)), far, 8760*time.Hour - backdate, ""},
		"a usage too many": {
			approved(request(t, certificatesv1.KubeAPIServerClientSignerName, node("x"), certificatesv1.UsageServerAuth)), far, 0,
			"invalid usage for client certificate: server auth",
		},
		"no usage": {
			approved(request(t, certificatesv1.KubeAPIServerClientSignerName, node("x"))), far, 0,
			"missing required usage for client certificate: client auth",
		},
		"serving without a name": {
			approved(request(t, certificatesv1.KubeletServingSignerName, node("system:node:n"), certificatesv1.UsageServerAuth, certificatesv1.UsageDigitalSignature)), far, 0,
			"DNS or IP subjectAltName is required",
		},
		"a kubelet without its usages": {
			approved(request(t, certificatesv1.KubeAPIServerClientKubeletSignerName, node("system:node:n"), certificatesv1.UsageClientAuth)), far, 0,
			"usages did not match [client auth digital signature key encipherment]",
		},
	} {
		b := workbench.New(t, c.request)
		a := map[string]Authority{}
		for _, s := range Signers() {
			a[s] = authority(t, c.ca)
		}
		b.Add(Signing(b.Deps(), a, 8760*time.Hour)...)
		b.Settle()
		r, cert := signed(t, b)
		var lives time.Duration
		if cert != nil {
			lives = cert.NotAfter.Sub(workbench.Epoch)
		}
		if lives != c.lives {
			t.Errorf("%s: lives %v", name, lives)
		}
		failure := ""
		for _, condition := range r.Status.Conditions {
			if condition.Type == certificatesv1.CertificateFailed {
				failure = condition.Message
			}
		}
		if failure != c.failure {
			t.Errorf("%s: failure %q", name, failure)
		}
	}
}

func TestRulesOfKubelets(t *testing.T) {
	named := node("system:node:n")
	named.DNSNames = []string{"n"}
	for name, c := range map[string]struct {
		rule   func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error
		x      x509.CertificateRequest
		usages []certificatesv1.KeyUsage
		says   string
	}{
		"client":             {kubeletClient, node("system:node:n"), clientUsages, ""},
		"client without RSA": {kubeletClient, node("system:node:n"), clientUsages[:2], ""},
		"client with a name": {kubeletClient, named, clientUsages, "DNS subjectAltNames are not allowed"},
		"somebody else":      {kubeletClient, node("jane"), clientUsages, "subject common name does not begin with system:node:"},
		"no group":           {kubeletClient, x509.CertificateRequest{}, clientUsages, "subject organization is not system:nodes"},
		"serving":            {kubeletServing, named, []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth, certificatesv1.UsageDigitalSignature}, ""},
		"serving to a client": {
			kubeletServing, named, clientUsages, "usages did not match [digital signature key encipherment server auth]",
		},
	} {
		got := ""
		if err := c.rule(&c.x, c.usages); err != nil {
			got = err.Error()
		}
		if got != c.says {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestApproves(t *testing.T) {
	for name, c := range map[string]struct {
		cn, allowed string
		approved    bool
		asked       string
	}{
		"a node for itself":     {"system:node:n", "selfnodeclient", true, "selfnodeclient"},
		"a node for another":    {"system:node:m", "nodeclient", true, "nodeclient"},
		"itself and any":        {"system:node:n", "nodeclient", true, "selfnodeclient nodeclient"},
		"a node that may not":   {"system:node:m", "selfnodeclient", false, "nodeclient"},
		"what nobody can guess": {"jane", "nodeclient", false, ""},
	} {
		b := workbench.New(t, request(t, certificatesv1.KubeAPIServerClientKubeletSignerName, node(c.cn), clientUsages...))
		var asked []string
		b.API.Review = func(o kinds.Object) {
			r := o.(*authorizationv1.SubjectAccessReview)
			asked = append(asked, r.Spec.ResourceAttributes.Subresource)
			r.Status.Allowed = r.Spec.User == "system:node:n" && r.Spec.ResourceAttributes.Subresource == c.allowed
		}
		b.Add(Approving(b.Deps()))
		b.Settle()
		r := workbench.Get[*certificatesv1.CertificateSigningRequest](b, "", "r")
		if has(r, certificatesv1.CertificateApproved) != c.approved || strings.Join(asked, " ") != c.asked {
			t.Errorf("%s: %v, asked %v", name, r.Status.Conditions, asked)
		}
	}
}

func TestClearsAway(t *testing.T) {
	denied := request(t, "s", node("n"))
	denied.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied, LastUpdateTime: metav1.NewTime(workbench.Epoch)}}
	for name, c := range map[string]struct {
		request *certificatesv1.CertificateSigningRequest
		stays   time.Duration
	}{
		"pending":             {request(t, "s", node("n")), pendingStays},
		"approved, no answer": {approved(request(t, "s", node("n"))), pendingStays},
		"denied":              {denied, handledStays},
	} {
		b := workbench.New(t, c.request)
		b.Add(Cleaner(b.Deps()))
		b.Advance(c.stays)
		if _, ok := workbench.Find[*certificatesv1.CertificateSigningRequest](b, "", "r"); !ok {
			t.Errorf("%s: gone too early", name)
		}
		b.Advance(time.Minute)
		if _, ok := workbench.Find[*certificatesv1.CertificateSigningRequest](b, "", "r"); ok {
			t.Errorf("%s: still there", name)
		}
	}
}

func TestPublishesOneBundle(t *testing.T) {
	bundle := func(name, signer string) *certificatesv1.ClusterTrustBundle {
		return &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: "old"}}
	}
	b := workbench.New(t, bundle("kubernetes.io:kube-apiserver-serving:old", servingSigner), bundle("other", ""))
	b.Add(Publisher(b.Deps(), []byte("PEM")))
	b.Settle()
	check := func() {
		t.Helper()
		all := workbench.All[*certificatesv1.ClusterTrustBundle](b, "")
		if len(all) != 2 || all[0].Name != bundleName([]byte("PEM")) || all[0].Spec.TrustBundle != "PEM" || all[1].Name != "other" {
			t.Fatalf("bundles %v", all)
		}
	}
	check()
	workbench.Change(b, "", bundleName([]byte("PEM")), func(c *certificatesv1.ClusterTrustBundle) { c.Spec.TrustBundle = "forged" })
	b.Settle()
	check()
	workbench.Delete[*certificatesv1.ClusterTrustBundle](b, "", bundleName([]byte("PEM")))
	b.Settle()
	check()
}
