package references_test

import (
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/auth/references"
)

func named(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func volumes(sources ...corev1.VolumeSource) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	for _, s := range sources {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: s})
	}
	return p
}

func TestPodReferences(t *testing.T) {
	pod := volumes(
		corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s1"}},
		corev1.VolumeSource{AzureFile: &corev1.AzureFileVolumeSource{SecretName: "s2"}},
		corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: ptr.To(named("s3"))}},
		corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{}},
		corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: named("s4")}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named("m1")}},
		}}},
		corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("m2")}},
		corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c1"}},
		corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}},
	)
	pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{named("s5"), named("")}
	pod.Spec.InitContainers = []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("s6")}}}}}
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: named("m3")}}}},
	}}}
	pod.Spec.ResourceClaims = []corev1.PodResourceClaim{
		{Name: "a", ResourceClaimName: ptr.To("r1")},
		{Name: "b", ResourceClaimTemplateName: ptr.To("t")},
		{Name: "c", ResourceClaimTemplateName: ptr.To("t")},
	}
	pod.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "b", ResourceClaimName: ptr.To("r2")}, {Name: "c"}}
	pod.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "r3"}

	for _, test := range []struct {
		name      string
		got, want []string
	}{
		{"secrets", slices.Sorted(references.Secrets(pod)), []string{"s1", "s2", "s3", "s4", "s5", "s6"}},
		{"config maps", slices.Sorted(references.ConfigMaps(pod)), []string{"m1", "m2", "m3"}},
		{"volume claims", slices.Sorted(references.VolumeClaims(pod)), []string{"c1", "p-v"}},
		{"resource claims", slices.Sorted(references.ResourceClaims(pod)), []string{"r1", "r2", "r3"}},
	} {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, test.got, test.want)
		}
	}
	for name := range references.Secrets(pod) {
		if name != "s5" {
			t.Errorf("went on to %q after the end", name)
		}
		break
	}
}

func TestForeign(t *testing.T) {
	projected := func(p corev1.VolumeProjection) *corev1.Pod {
		return volumes(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{p}}})
	}
	tests := []struct {
		name  string
		pod   *corev1.Pod
		what  string
		fails bool
	}{
		{name: "alone", pod: volumes(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})},
		{name: "downward API", pod: projected(corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{}})},
		{name: "secret", pod: volumes(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}), what: "secrets"},
		{name: "secret without a name", pod: volumes(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}), what: "secrets (via secret volumes)"},
		{name: "token", pod: projected(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}), what: "serviceaccounts (via projected volumes)"},
		{name: "CSI", pod: volumes(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{}}), what: "csidrivers (via CSI volumes)"},
		{name: "claim", pod: volumes(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}), what: "persistentvolumeclaims"},
		{name: "unknown volume", pod: volumes(corev1.VolumeSource{}), fails: true},
		{name: "unknown projection", pod: projected(corev1.VolumeProjection{}), fails: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			what, err := references.Foreign(test.pod)
			if what != test.what || (err != nil) != test.fails {
				t.Errorf("got %q, %v", what, err)
			}
		})
	}
}

func TestVolumeSecrets(t *testing.T) {
	ref := func(namespace string) *corev1.SecretReference {
		return &corev1.SecretReference{Namespace: namespace, Name: "s"}
	}
	tests := []struct {
		name   string
		source corev1.PersistentVolumeSource
		want   []references.Secret
	}{
		{name: "none", source: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{}}},
		{name: "the claim's namespace", source: corev1.PersistentVolumeSource{RBD: &corev1.RBDPersistentVolumeSource{SecretRef: ref("")}}, want: []references.Secret{{Namespace: "orange", Name: "s"}}},
		{name: "its own namespace", source: corev1.PersistentVolumeSource{CephFS: &corev1.CephFSPersistentVolumeSource{SecretRef: ref("x")}}, want: []references.Secret{{Namespace: "x", Name: "s"}}},
		{name: "azure", source: corev1.PersistentVolumeSource{AzureFile: &corev1.AzureFilePersistentVolumeSource{SecretName: "s"}}, want: []references.Secret{{Namespace: "orange", Name: "s"}}},
		{
			name: "CSI without the controller's",
			source: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				NodePublishSecretRef: ref("a"), NodeExpandSecretRef: ref("b"), ControllerExpandSecretRef: ref("c"),
			}},
			want: []references.Secret{{Namespace: "a", Name: "s"}, {Namespace: "b", Name: "s"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pv := &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{
				ClaimRef: &corev1.ObjectReference{Namespace: "orange"}, PersistentVolumeSource: test.source,
			}}
			if got := references.VolumeSecrets(pv); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v", got)
			}
		})
	}
}
