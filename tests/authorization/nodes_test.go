package authorization

import (
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
)

const (
	nodes          = 6
	pods           = 24
	nodeNamespaces = 3
)

// world is what kubelets have to do with: pods on nodes, and what the pods
// refer to. Nothing that is only named has to exist.
func world(r *rand.Rand) []kinds.Object {
	var out []kinds.Object
	for _, namespace := range namespaces {
		out = append(out, namespaceNamed(namespace))
	}
	for _, namespace := range namespaces[:nodeNamespaces] {
		for i := range pods {
			out = append(out, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("account-%d", i)}})
		}
	}
	for i := range pods {
		out = append(out, pod(r, i), volume(r, i))
		meta := metav1.ObjectMeta{Name: fmt.Sprintf("attachment-%d", i)}
		node := fmt.Sprintf("n%d", r.IntN(nodes))
		out = append(out, &storagev1.VolumeAttachment{ObjectMeta: meta, Spec: storagev1.VolumeAttachmentSpec{
			Attacher: "csi.example.com", NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To("volume-0")},
		}})
		slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("slice-%d", i)}, Spec: resourcev1.ResourceSliceSpec{
			Driver: "gpu.example.com", NodeName: &node, Pool: resourcev1.ResourcePool{Name: fmt.Sprintf("pool-%d", i), ResourceSliceCount: 1},
		}}
		if i%6 == 5 {
			slice.Spec.NodeName, slice.Spec.AllNodes = nil, ptr.To(true)
		}
		out = append(out, slice)
	}
	return append(out, worldEnd()...)
}

// worldEnd is what worldSeen waits for: a pod, with its volume, on a node of
// its own.
func worldEnd() []kinds.Object {
	meta := metav1.ObjectMeta{Name: "sentinel"}
	inNamespace := metav1.ObjectMeta{Namespace: namespaces[0], Name: "sentinel"}
	r := rand.New(rand.NewPCG(0, 0))
	v := volume(r, 0)
	v.ObjectMeta = meta
	v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: namespaces[0], Name: "sentinel"}
	v.Spec.CSI.NodeStageSecretRef = &corev1.SecretReference{Namespace: namespaces[0], Name: "sentinel-csi"}
	node := "sentinel"
	return []kinds.Object{
		&corev1.ServiceAccount{ObjectMeta: inNamespace},
		&corev1.Pod{ObjectMeta: inNamespace, Spec: corev1.PodSpec{
			NodeName: node, AutomountServiceAccountToken: ptr.To(false), ServiceAccountName: "sentinel", Containers: []corev1.Container{{Name: "c", Image: "x"}},
			Volumes: []corev1.Volume{
				{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "sentinel"}}},
				{Name: "claim", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "sentinel"}}},
			},
		}},
		v,
		&storagev1.VolumeAttachment{ObjectMeta: meta, Spec: storagev1.VolumeAttachmentSpec{
			Attacher: "csi.example.com", NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: ptr.To("sentinel")},
		}},
		&resourcev1.ResourceSlice{ObjectMeta: meta, Spec: resourcev1.ResourceSliceSpec{
			Driver: "gpu.example.com", NodeName: &node, Pool: resourcev1.ResourcePool{Name: "sentinel", ResourceSliceCount: 1},
		}},
	}
}

func namespaceNamed(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func pod(r *rand.Rand, i int) *corev1.Pod {
	name := func(kind string) string { return fmt.Sprintf("%s-%d", kind, r.IntN(pods)) }
	local := func(kind string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name(kind)} }
	secretKey := &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local("secret"), Key: "k"}}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pick(r, namespaces[:nodeNamespaces]), Name: fmt.Sprintf("pod-%d", i)},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: ptr.To(false), ServiceAccountName: name("account"),
			ImagePullSecrets: []corev1.LocalObjectReference{local("pull")},
			InitContainers:   []corev1.Container{{Name: "i", Image: "x", Env: []corev1.EnvVar{{Name: "E", ValueFrom: secretKey}}}},
			Containers: []corev1.Container{{Name: "c", Image: "x", EnvFrom: []corev1.EnvFromSource{
				{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local("config")}},
				{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local("secret")}},
			}}},
			Volumes: []corev1.Volume{
				{Name: "claim", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name("claim")}}},
				{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
					Spec: corev1.PersistentVolumeClaimSpec{
						AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
						Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
					},
				}}}},
				{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{Secret: &corev1.SecretProjection{LocalObjectReference: local("secret")}}, {ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local("config")}},
				}}}},
			},
			ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: ptr.To(name("gpu"))}},
		},
	}
	if i%8 != 7 { // one in eight waits for a node
		p.Spec.NodeName = fmt.Sprintf("n%d", r.IntN(nodes))
	}
	return p
}

func volume(r *rand.Rand, i int) *corev1.PersistentVolume {
	secret := func() *corev1.SecretReference {
		return &corev1.SecretReference{Namespace: pick(r, namespaces[:nodeNamespaces]), Name: fmt.Sprintf("csi-%d", r.IntN(pods))}
	}
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("volume-%d", i)},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: "csi.example.com", VolumeHandle: fmt.Sprint(i), NodeStageSecretRef: secret(), NodePublishSecretRef: secret(), ControllerPublishSecretRef: secret(),
			}},
		},
	}
	if i%5 != 4 {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: pick(r, namespaces[:nodeNamespaces]), Name: fmt.Sprintf("claim-%d", r.IntN(pods))}
	}
	return v
}
