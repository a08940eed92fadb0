package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"

	"go.uber.org/goleak"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/apitest"
	"coracle.local/libs/kinds"
	"coracle.local/libs/pki"
	controllersv1 "coracle.local/proto/coracle/controllers/v1"
	"coracle.local/services/controller-manager/app"
	"coracle.local/services/controller-manager/internal/workbench"
)

func approvedRequest(t *testing.T) *certificatesv1.CertificateSigningRequest {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "jane"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: certificatesv1.KubeAPIServerClientSignerName, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		},
		Status: certificatesv1.CertificateSigningRequestStatus{Conditions: []certificatesv1.CertificateSigningRequestCondition{
			{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, LastUpdateTime: metav1.Now()},
		}},
	}
}

// world is something for each of the controllers below to do.
func world(t *testing.T) []kinds.Object {
	old := approvedRequest(t)
	old.Name = "old"
	old.Status.Conditions[0].LastUpdateTime = metav1.NewTime(time.Now().Add(-48 * time.Hour))
	old.Spec.SignerName = "example.com/nobody"
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	return []kinds.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}},
		approvedRequest(t), old,
		&certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "old", CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour))}},
		&corev1.Service{ObjectMeta: workbench.Meta("external")},
		&corev1.Endpoints{ObjectMeta: workbench.Meta("external"), Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1"}}}}},
		&corev1.Endpoints{ObjectMeta: workbench.Meta("leftover")},
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
			Type:       corev1.SecretTypeServiceAccountToken,
		},
		&corev1.ServiceAccount{ObjectMeta: workbench.Meta("default")},
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}, Spec: corev1.PersistentVolumeSpec{Capacity: size}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}},
		&corev1.PersistentVolumeClaim{ObjectMeta: workbench.Meta("claim"), Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To(""), Resources: corev1.VolumeResourceRequirements{Requests: size},
		}},
		&corev1.Pod{ObjectMeta: workbench.Meta("pod"), Spec: corev1.PodSpec{
			Volumes: []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
				// Of a class of its own: there is one disk, which is the other claim's.
				VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("scratch")}},
			}}}},
			ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: ptr.To("gpu")}},
		}},
		&resourcev1.ResourceClaimTemplate{ObjectMeta: workbench.Meta("gpu")},
		&storagemigrationv1.StorageVersionMigration{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Spec: storagemigrationv1.StorageVersionMigrationSpec{
			Resource: metav1.GroupResource{Resource: "services"},
		}},
	}
}

// Each of these controllers does its work over gRPC, and tells of it.
func TestControllersOfAnAPIWithoutNodes(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after all other clean-up
	api := apitest.New()
	api.Seed(world(t)...)
	cfg := config(t, api)
	ca, err := pki.NewAuthority("ca", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.RootCA = ca.CertPEM
	cfg.Signers = app.AllSigners(app.Authority{Cert: ca.CertPEM, Key: ca.KeyPEM})
	if cfg.ServiceAccountKey, err = pki.NewSigningKey(); err != nil {
		t.Fatal(err)
	}
	service := start(t, cfg)
	for what, done := range map[string]func() bool{
		"a certificate": func() bool {
			r, ok := get[*certificatesv1.CertificateSigningRequest](t, api, "", "jane")
			return ok && len(r.Status.Certificate) > 0
		},
		"the end of an old request":     missing[*certificatesv1.CertificateSigningRequest](t, api, "", "old"),
		"the end of an old pod request": missing[*certificatesv1.PodCertificateRequest](t, api, "default", "old"),
		"the end of leftover Endpoints": missing[*corev1.Endpoints](t, api, "default", "leftover"),
		"a trust bundle":                func() bool { return len(list[*certificatesv1.ClusterTrustBundle](t, api)) == 1 },
		"a mirrored slice":              func() bool { return len(list[*discoveryv1.EndpointSlice](t, api)) == 1 },
		"a token": func() bool {
			s, ok := get[*corev1.Secret](t, api, "default", "token")
			return ok && len(s.Data) == 3
		},
		"a bound claim": func() bool {
			c, ok := get[*corev1.PersistentVolumeClaim](t, api, "default", "claim")
			return ok && c.Status.Phase == corev1.ClaimBound
		},
		"the pod's own claim": func() bool {
			_, ok := get[*corev1.PersistentVolumeClaim](t, api, "default", "pod-scratch")
			return ok
		},
		"the pod's resource claim": func() bool {
			p, ok := get[*corev1.Pod](t, api, "default", "pod")
			return ok && len(p.Status.ResourceClaimStatuses) == 1
		},
		"a migration": func() bool {
			m, ok := get[*storagemigrationv1.StorageVersionMigration](t, api, "", "m")
			return ok && len(m.Status.Conditions) == 2 && m.Status.Conditions[1].Status == metav1.ConditionTrue
		},
	} {
		api.Until(t, what, done)
	}
	for _, name := range []string{
		"certificatesigningrequest-signing-controller", "certificatesigningrequest-cleaner-controller", "podcertificaterequest-cleaner-controller",
		"kube-apiserver-serving-clustertrustbundle-publisher-controller", "endpointslice-mirroring-controller", "serviceaccount-token-controller",
		"persistentvolume-binder-controller", "ephemeral-volume-controller", "resourceclaim-controller", "storage-version-migrator-controller",
		"legacy-serviceaccount-token-cleaner-controller", "certificatesigningrequest-approving-controller",
	} {
		c, err := service.GetController(t.Context(), &controllersv1.GetControllerRequest{Name: name})
		if err != nil || !c.GetController().GetEnabled() || len(c.GetController().GetLoops()) == 0 || c.GetController().GetLoops()[0].GetLast() == nil {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func get[T kinds.Object](t *testing.T, api *apitest.API, namespace, name string) (T, bool) {
	o, err := api.Get(t.Context(), kinds.For[T](), namespace, name)
	if err != nil {
		var none T
		return none, false
	}
	return o.(T), true
}

func missing[T kinds.Object](t *testing.T, api *apitest.API, namespace, name string) func() bool {
	return func() bool {
		_, ok := get[T](t, api, namespace, name)
		return !ok
	}
}

func list[T kinds.Object](t *testing.T, api *apitest.API) []kinds.Object {
	out, err := api.List(t.Context(), kinds.For[T](), "")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestControllerNames(t *testing.T) {
	api := apitest.New()
	for name, want := range map[string]string{
		"*": "", "-csrsigning": "", "svm": "", "resource-claim-controller": "", "tokencleaner": "", "-selinux-warning-controller": "",
		"nonsense": `"nonsense" is not in the list of known controllers`, "-nonsense": `"-nonsense" is not in the list of known controllers`,
	} {
		cfg := config(t, api)
		cfg.Controllers = []string{name}
		got := ""
		if err := cfg.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
