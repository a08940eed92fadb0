package admission

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth/authtest"
)

func marked(name, annotation string, age time.Duration) metav1.ObjectMeta {
	m := meta("", name)
	m.Annotations = map[string]string{annotation: "true"}
	m.CreationTimestamp = metav1.NewTime(start.Add(-age))
	return m
}

func TestDefaultClasses(t *testing.T) {
	const storage, ingress = "storageclass.kubernetes.io/is-default-class", networkingv1.AnnotationIsDefaultIngressClass
	cluster := authtest.New(
		&storagev1.StorageClass{ObjectMeta: meta("", "plain")},
		&storagev1.StorageClass{ObjectMeta: marked("old", storage, time.Hour)},
		&storagev1.StorageClass{ObjectMeta: marked("z-new", storage, time.Minute)},
		&storagev1.StorageClass{ObjectMeta: marked("new", storage, time.Minute)},
		&networkingv1.IngressClass{ObjectMeta: marked("nginx", ingress, time.Hour)},
	)
	classes := &defaultStorageClass{cluster}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta("orange", "c")}
	expect(t, classes.Admit(context.Background(), create(claim)), "")
	if got := ptr.Deref(claim.Spec.StorageClassName, ""); got != "new" {
		t.Errorf("class %q, want the newest, and the first of those by name", got)
	}
	for _, none := range []*corev1.PersistentVolumeClaim{
		{ObjectMeta: meta("orange", "c"), Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("")}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "orange", Annotations: map[string]string{corev1.BetaStorageClassAnnotation: "x"}}},
	} {
		expect(t, classes.Admit(context.Background(), create(none)), "")
		if ptr.Deref(none.Spec.StorageClassName, "") != "" {
			t.Errorf("claim %+v", none)
		}
	}
	i := &networkingv1.Ingress{ObjectMeta: meta("orange", "i")}
	expect(t, (&defaultIngressClass{cluster}).Admit(context.Background(), create(i)), "")
	if ptr.Deref(i.Spec.IngressClassName, "") != "nginx" {
		t.Errorf("ingress %+v", i.Spec)
	}
}

func TestStorageProtection(t *testing.T) {
	for _, o := range []kinds.Object{
		&corev1.PersistentVolume{ObjectMeta: meta("", "v")}, &corev1.PersistentVolumeClaim{ObjectMeta: meta("orange", "c")}, &storagev1.VolumeAttributesClass{ObjectMeta: meta("", "a")},
	} {
		for range 2 {
			expect(t, storageProtection{}.Admit(context.Background(), create(o)), "")
		}
		if len(o.GetFinalizers()) != 1 {
			t.Errorf("%T has finalizers %q", o, o.GetFinalizers())
		}
	}
}

func TestClaimResize(t *testing.T) {
	p := &claimResize{lookup{reader: authtest.New(
		&storagev1.StorageClass{ObjectMeta: meta("", "grows"), AllowVolumeExpansion: ptr.To(true)},
		&storagev1.StorageClass{ObjectMeta: meta("", "fixed")},
	)}}
	claim := func(size, class string, phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{
			ObjectMeta: meta("orange", "c"), Status: corev1.PersistentVolumeClaimStatus{Phase: phase},
			Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, Resources: corev1.VolumeResourceRequirements{Requests: list("storage", size)}},
		}
	}
	const bound = corev1.ClaimBound
	expect(t, p.Validate(context.Background(), update(claim("2Gi", "grows", bound), claim("1Gi", "grows", bound))), "")
	expect(t, p.Validate(context.Background(), update(claim("1Gi", "fixed", bound), claim("2Gi", "fixed", bound))), "")
	expect(t, p.Validate(context.Background(), update(claim("2Gi", "fixed", bound), claim("1Gi", "fixed", bound))), "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
	expect(t, p.Validate(context.Background(), update(claim("2Gi", "grows", ""), claim("1Gi", "grows", ""))), "Only bound persistent volume claims can be expanded")
}

func TestDenyExternalIPs(t *testing.T) {
	service := func(ips ...string) *corev1.Service {
		return &corev1.Service{ObjectMeta: meta("orange", "s"), Spec: corev1.ServiceSpec{ExternalIPs: ips}}
	}
	expect(t, denyExternalIPs{}.Validate(context.Background(), create(service())), "")
	expect(t, denyExternalIPs{}.Validate(context.Background(), create(service("192.0.2.1"))), "Use of external IPs is denied by admission control")
	expect(t, denyExternalIPs{}.Validate(context.Background(), update(service("192.0.2.1"), service("192.0.2.1", "192.0.2.2"))), "")
}

func signing(t testing.TB, signer, commonName string, groups ...string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName, Organization: groups}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{ObjectMeta: meta("", "csr"), Spec: certificatesv1.CertificateSigningRequestSpec{
		SignerName: signer, Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
	}}
}

func TestCertificates(t *testing.T) {
	const client = certificatesv1.KubeAPIServerClientSignerName
	csr := signing(t, client, "bob", "devs")
	signed := csr.DeepCopy()
	signed.Status.Certificate = []byte("x")
	broken := csr.DeepCopy()
	broken.Spec.Request = []byte("x")
	bundle := func(data string) *certificatesv1.ClusterTrustBundle {
		return &certificatesv1.ClusterTrustBundle{ObjectMeta: meta("", "b"), Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: "example.com/one", TrustBundle: data}}
	}
	asked := &certificatesv1.PodCertificateRequest{ObjectMeta: meta("orange", "r"), Spec: certificatesv1.PodCertificateRequestSpec{SignerName: "example.com/one"}}
	denied := asked.DeepCopy()
	denied.Status.CertificateChain = "x"
	tests := []struct {
		name    string
		plugin  Validator
		request *Attributes
		refusal string
	}{
		{name: "approval", plugin: &certificateApproval{allowOnly{"approve", client}}, request: update(csr, csr).sub("approval")},
		{name: "approval by domain", plugin: &certificateApproval{allowOnly{"approve", "kubernetes.io/*"}}, request: update(csr, csr).sub("approval")},
		{name: "approval refused", plugin: &certificateApproval{allowOnly{"approve", "other"}}, request: update(csr, csr).sub("approval"), refusal: `user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"`},
		{name: "signing", plugin: &certificateSigning{allowOnly{"sign", client}}, request: update(signed, csr).sub("status")},
		{name: "signing refused", plugin: &certificateSigning{allowOnly{}}, request: update(signed, csr).sub("status"), refusal: "user not permitted to sign requests with signerName"},
		{name: "another status", plugin: &certificateSigning{allowOnly{}}, request: update(csr, csr).sub("status")},
		{name: "pod certificate", plugin: &podCertificateSigning{allowOnly{"sign", "example.com/*"}}, request: update(denied, asked).sub("status")},
		{name: "pod certificate refused", plugin: &podCertificateSigning{allowOnly{}}, request: update(denied, asked).sub("status"), refusal: `User "alice" is not permitted to "sign" for signer "example.com/one"`},
		{name: "pod certificate unanswered", plugin: &podCertificateSigning{allowOnly{}}, request: update(asked, asked).sub("status")},
		{name: "subject", plugin: subjectRestriction{}, request: create(csr)},
		{name: "subject of a master", plugin: subjectRestriction{}, request: create(signing(t, client, "bob", "system:masters")), refusal: "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"},
		{name: "a master of another signer", plugin: subjectRestriction{}, request: create(signing(t, "example.com/x", "bob", "system:masters"))},
		{name: "broken", plugin: subjectRestriction{}, request: create(broken), refusal: "failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"},
		{name: "attest", plugin: &trustBundleAttest{allowOnly{"attest", "example.com/one"}}, request: create(bundle("x"))},
		{name: "attest refused", plugin: &trustBundleAttest{allowOnly{}}, request: update(bundle("y"), bundle("x")), refusal: `user not permitted to attest for signerName "example.com/one"`},
		{name: "nothing new to attest", plugin: &trustBundleAttest{allowOnly{}}, request: update(bundle("x"), bundle("x"))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expect(t, test.plugin.Validate(context.Background(), test.request), test.refusal)
		})
	}
}
