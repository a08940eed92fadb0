package node_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/auth/authz/node"
	"coracle.local/services/apiserver/internal/bootstrap"
)

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func pod(name, nodeName string) *corev1.Pod {
	local := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	return &corev1.Pod{
		ObjectMeta: meta("orange", name),
		Spec: corev1.PodSpec{
			NodeName: nodeName, ServiceAccountName: "robot",
			ImagePullSecrets: []corev1.LocalObjectReference{local("pull")},
			Containers: []corev1.Container{{
				Env:     []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local("env")}}}},
				EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local("envfrom")}}},
			}},
			Volumes: []corev1.Volume{
				{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "volume"}}},
				{Name: "d", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
				{Name: "e", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
			},
			ResourceClaims: []corev1.PodResourceClaim{
				{Name: "gpu", ResourceClaimName: ptr.To("gpu-claim")},
				{Name: "made", ResourceClaimTemplateName: ptr.To("t")},
			},
		},
		Status: corev1.PodStatus{ResourceClaimStatuses: []corev1.PodResourceClaimStatus{{Name: "made", ResourceClaimName: ptr.To("made-claim")}}},
	}
}

func cluster() *authtest.Cluster {
	mirror := pod("mirror", "n2")
	mirror.Namespace = "blue"
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	return authtest.New(
		pod("a", "n1"), mirror,
		&corev1.PersistentVolumeClaim{ObjectMeta: meta("orange", "data"), Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}},
		&corev1.PersistentVolume{ObjectMeta: meta("", "pv"), Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{Namespace: "orange", Name: "data"},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				NodeStageSecretRef:         &corev1.SecretReference{Namespace: "storage", Name: "stage"},
				ControllerPublishSecretRef: &corev1.SecretReference{Namespace: "storage", Name: "controller"},
			}},
		}},
		&storagev1.VolumeAttachment{ObjectMeta: meta("", "va"), Spec: storagev1.VolumeAttachmentSpec{NodeName: "n1"}},
		&resourcev1.ResourceSlice{ObjectMeta: meta("", "slice"), Spec: resourcev1.ResourceSliceSpec{NodeName: ptr.To("n1")}},
	)
}

func TestAuthorize(t *testing.T) {
	c := cluster()
	a := node.New(c, bootstrap.NodeRules())
	c.Watch(a)
	unrelated := "no relationship found between node 'n2' and this object"
	tests := []struct {
		name, node, verb, resource, namespace, object string
		fields                                        string
		allow                                         bool
		reason                                        string
	}{
		{name: "secret of a volume", node: "n1", verb: "get", resource: "secrets", namespace: "orange", object: "volume", allow: true},
		{name: "secret of the environment", node: "n1", verb: "watch", resource: "secrets", namespace: "orange", object: "env", allow: true},
		{name: "pull secret", node: "n1", verb: "list", resource: "secrets", namespace: "orange", object: "pull", allow: true},
		{name: "secret of a persistent volume", node: "n1", verb: "get", resource: "secrets", namespace: "storage", object: "stage", allow: true},
		{name: "secret of the controller", node: "n1", verb: "get", resource: "secrets", namespace: "storage", object: "controller"},
		{name: "secret of another node's pod", node: "n2", verb: "get", resource: "secrets", namespace: "orange", object: "volume", reason: unrelated},
		{name: "secret of the same name elsewhere", node: "n1", verb: "get", resource: "secrets", namespace: "blue", object: "volume"},
		{name: "a mirror pod gives nothing", node: "n2", verb: "get", resource: "secrets", namespace: "blue", object: "volume", reason: unrelated},
		{name: "all secrets", node: "n1", verb: "list", resource: "secrets", namespace: "orange", reason: "No Object name found"},
		{name: "writing a secret", node: "n1", verb: "update", resource: "secrets", namespace: "orange", object: "volume", reason: "can only read resources of this type"},
		{name: "config map", node: "n1", verb: "get", resource: "configmaps", namespace: "orange", object: "envfrom", allow: true},
		{name: "claim", node: "n1", verb: "get", resource: "persistentvolumeclaims", namespace: "orange", object: "data", allow: true},
		{name: "ephemeral claim", node: "n1", verb: "get", resource: "persistentvolumeclaims", namespace: "orange", object: "a-e", allow: true},
		{name: "claim's status", node: "n1", verb: "patch", resource: "persistentvolumeclaims/status", namespace: "orange", object: "data", allow: true},
		{name: "listing claims", node: "n1", verb: "list", resource: "persistentvolumeclaims", namespace: "orange", reason: "can only get individual resources of this type"},
		{name: "volume", node: "n1", verb: "get", resource: "persistentvolumes", object: "pv", allow: true},
		{name: "another's volume", node: "n2", verb: "get", resource: "persistentvolumes", object: "pv", reason: unrelated},
		{name: "resource claim", node: "n1", verb: "get", resource: "resource.k8s.io:resourceclaims", namespace: "orange", object: "gpu-claim", allow: true},
		{name: "resource claim of a template", node: "n1", verb: "get", resource: "resource.k8s.io:resourceclaims", namespace: "orange", object: "made-claim", allow: true},
		{name: "attachment", node: "n1", verb: "get", resource: "storage.k8s.io:volumeattachments", object: "va", allow: true},
		{name: "another's attachment", node: "n2", verb: "get", resource: "storage.k8s.io:volumeattachments", object: "va"},
		{name: "token of a pod's account", node: "n1", verb: "create", resource: "serviceaccounts/token", namespace: "orange", object: "robot", allow: true},
		{name: "token of another account", node: "n1", verb: "create", resource: "serviceaccounts/token", namespace: "orange", object: "default"},
		{name: "account", node: "n1", verb: "get", resource: "serviceaccounts", namespace: "orange", object: "robot", allow: true},
		{name: "own lease", node: "n1", verb: "update", resource: "coordination.k8s.io:leases", namespace: "kube-node-lease", object: "n1", allow: true},
		{name: "another's lease", node: "n1", verb: "update", resource: "coordination.k8s.io:leases", namespace: "kube-node-lease", object: "n2", reason: "can only access node lease with the same name as the requesting node"},
		{name: "lease elsewhere", node: "n1", verb: "create", resource: "coordination.k8s.io:leases", namespace: "kube-system", reason: `can only access leases in the "kube-node-lease" system namespace`},
		{name: "own csinode", node: "n1", verb: "create", resource: "storage.k8s.io:csinodes", allow: true},
		{name: "csinode status", node: "n1", verb: "update", resource: "storage.k8s.io:csinodes/status", object: "n1", reason: "CSINode status access requires CSIVolumeHealth feature"},
		{name: "own slice", node: "n1", verb: "delete", resource: "resource.k8s.io:resourceslices", object: "slice", allow: true},
		{name: "another's slice", node: "n2", verb: "delete", resource: "resource.k8s.io:resourceslices", object: "slice", reason: unrelated},
		{name: "own slices", node: "n1", verb: "watch", resource: "resource.k8s.io:resourceslices", fields: "spec.nodeName=n1", allow: true},
		{name: "all slices", node: "n1", verb: "watch", resource: "resource.k8s.io:resourceslices", reason: "can only list/watch/deletecollection resourceslices with nodeName field selector"},
		{name: "own pods", node: "n1", verb: "watch", resource: "pods", fields: "spec.nodeName=n1", allow: true},
		{name: "another's pods", node: "n1", verb: "watch", resource: "pods", fields: "spec.nodeName=n2", reason: "can only list/watch pods with spec.nodeName field selector"},
		{name: "own pod", node: "n1", verb: "get", resource: "pods", namespace: "orange", object: "a", allow: true},
		{name: "another's pod", node: "n2", verb: "get", resource: "pods", namespace: "orange", object: "a", reason: unrelated},
		{name: "pod status", node: "n1", verb: "patch", resource: "pods/status", namespace: "orange", object: "a", allow: true},
		{name: "pod binding", node: "n1", verb: "create", resource: "pods/binding", namespace: "orange", object: "a"},
		{name: "eviction", node: "n1", verb: "create", resource: "pods/eviction", namespace: "orange", object: "a", allow: true},
		{name: "own node", node: "n1", verb: "get", resource: "nodes", object: "n1", allow: true},
		{name: "all nodes", node: "n1", verb: "list", resource: "nodes", reason: "node 'n1' cannot read all nodes, only its own Node object"},
		{name: "another node", node: "n1", verb: "get", resource: "nodes", object: "n2", reason: "node 'n1' cannot read 'n2', only its own Node object"},
		{name: "node status", node: "n1", verb: "patch", resource: "nodes/status", object: "n1", allow: true},
		{name: "an attachment asked for in a namespace", node: "n1", verb: "get", resource: "storage.k8s.io:volumeattachments", namespace: "orange", object: "va", reason: "no relationship found between node 'n1' and this object"},
		{name: "a slice asked for in a namespace", node: "n1", verb: "get", resource: "resource.k8s.io:resourceslices", namespace: "orange", object: "slice"},
		{name: "a volume asked for in a namespace", node: "n1", verb: "get", resource: "persistentvolumes", namespace: "orange", object: "pv"},
		{name: "a claim asked for without a namespace", node: "n1", verb: "get", resource: "persistentvolumeclaims", object: "data"},
		{name: "services by rule", node: "n1", verb: "list", resource: "services", allow: true},
		{name: "no deployments", node: "n1", verb: "list", resource: "apps:deployments"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			group, resource, ok := strings.Cut(test.resource, ":")
			if !ok {
				group, resource = "", test.resource
			}
			resource, sub, _ := strings.Cut(resource, "/")
			ask := authorizer.AttributesRecord{
				User: authtest.Node(test.node), Verb: test.verb, APIGroup: group, Resource: resource, Subresource: sub,
				Namespace: test.namespace, Name: test.object, ResourceRequest: true,
			}
			if test.fields != "" {
				ask.FieldSelectorRequirements = fields.ParseSelectorOrDie(test.fields).Requirements()
			}
			decision, reason, err := a.Authorize(context.Background(), ask)
			if err != nil {
				t.Fatal(err)
			}
			if (decision == authorizer.DecisionAllow) != test.allow || decision == authorizer.DecisionDeny {
				t.Errorf("decision %v, %q", decision, reason)
			}
			if test.reason != "" && reason != test.reason {
				t.Errorf("reason %q, want %q", reason, test.reason)
			}
		})
	}
}

func TestOnlyNodesAreJudged(t *testing.T) {
	a := node.New(authtest.New(), bootstrap.NodeRules())
	for _, u := range []user.Info{authtest.User("x"), authtest.Admin(), authtest.User("system:node:n1")} {
		decision, reason, err := a.Authorize(context.Background(), authorizer.AttributesRecord{User: u, Verb: "list", Resource: "services", ResourceRequest: true})
		if decision != authorizer.DecisionNoOpinion || reason != "" || err != nil {
			t.Errorf("%s: %v %q %v", u.GetName(), decision, reason, err)
		}
	}
	if _, _, incomplete, err := a.RulesFor(context.Background(), authtest.Node("n1"), ""); !incomplete || err == nil {
		t.Error("a kubelet's rules cannot be listed")
	}
}

func TestPodsComeAndGo(t *testing.T) {
	c := authtest.New()
	a := node.New(c, nil)
	c.Watch(a)
	expect := func(step string, allowed bool) {
		t.Helper()
		decision, _, _ := a.Authorize(context.Background(), authorizer.AttributesRecord{
			User: authtest.Node("n1"), Verb: "get", Resource: "secrets", Namespace: "orange", Name: "volume", ResourceRequest: true,
		})
		if (decision == authorizer.DecisionAllow) != allowed {
			t.Errorf("%s: %v", step, decision)
		}
	}
	c.Put(pod("a", ""))
	expect("not bound", false)
	c.Put(pod("a", "n1"))
	expect("bound", true)
	c.Put(pod("b", "n1"))
	c.Remove(pod("a", "n1"))
	expect("another needs it", true)
	changed := pod("b", "n1")
	changed.Spec.Volumes = nil
	c.Put(changed)
	expect("nobody needs it", false)
	c.Put(pod("b", "n2"))
	expect("made again on another node", false)
}

// TestVolumesComeAndGo follows the secret of a volume that says which claim it
// is for, whether the claim exists or not.
func TestVolumesComeAndGo(t *testing.T) {
	c := authtest.New(pod("a", "n1"))
	a := node.New(c, nil)
	c.Watch(a)
	volume := func(claim, secret string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: meta("", "v"), Spec: corev1.PersistentVolumeSpec{
			ClaimRef: &corev1.ObjectReference{Namespace: "orange", Name: claim},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				NodeStageSecretRef: &corev1.SecretReference{Namespace: "storage", Name: secret},
			}},
		}}
	}
	expect := func(step, secret string, allowed bool) {
		t.Helper()
		decision, _, _ := a.Authorize(context.Background(), authorizer.AttributesRecord{
			User: authtest.Node("n1"), Verb: "get", Resource: "secrets", Namespace: "storage", Name: secret, ResourceRequest: true,
		})
		if (decision == authorizer.DecisionAllow) != allowed {
			t.Errorf("%s, secret %s: %v", step, secret, decision)
		}
	}
	expect("no volume", "one", false)
	c.Put(volume("elsewhere", "one"))
	expect("a volume of another claim", "one", false)
	c.Put(volume("a-e", "one"))
	expect("a volume of the pod's claim", "one", true)
	c.Put(volume("a-e", "two"))
	expect("another secret", "one", false)
	expect("another secret", "two", true)
	c.Remove(volume("a-e", "two"))
	expect("no volume any more", "two", false)
}

func BenchmarkSecret(b *testing.B) {
	c := authtest.New()
	for i := range 110 {
		p := pod("p"+string(rune('a'+i%26))+string(rune('a'+i/26)), "n1")
		p.Spec.Volumes = p.Spec.Volumes[:1]
		p.Spec.Volumes[0].Secret.SecretName = p.Name
		c.Put(p)
	}
	a := node.New(c, nil)
	c.Watch(a)
	var ask authorizer.Attributes = authorizer.AttributesRecord{
		User: authtest.Node("n1"), Verb: "get", Resource: "secrets", Namespace: "orange", Name: "pzd", ResourceRequest: true,
	}
	b.ReportAllocs()
	for b.Loop() {
		if decision, _, _ := a.Authorize(context.Background(), ask); decision != authorizer.DecisionAllow {
			b.Fatal(decision)
		}
	}
}
