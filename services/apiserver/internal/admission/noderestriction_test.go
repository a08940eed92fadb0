package admission

import (
	"context"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/auth/authtest"
)

// audienceGranted gives nodes the right to tokens of one audience.
type audienceGranted struct{}

func (audienceGranted) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetVerb() == "request-serviceaccounts-token-audience" && a.GetResource() == "granted" && a.GetName() == "robot" {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func restricted() *authtest.Cluster {
	return authtest.New(
		&corev1.Node{ObjectMeta: meta("", "n1")},
		&corev1.Pod{ObjectMeta: meta("orange", "mine"), Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "robot", Volumes: []corev1.Volume{
			{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault"}},
				{PodCertificate: &corev1.PodCertificateProjection{SignerName: "example.com/s"}},
			}}}},
			{Name: "csi", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "driver"}}},
		}}},
		&corev1.Pod{ObjectMeta: meta("orange", "other"), Spec: corev1.PodSpec{NodeName: "n2"}},
		&corev1.ServiceAccount{ObjectMeta: meta("orange", "robot")},
		&storagev1.CSIDriver{ObjectMeta: meta("", "driver"), Spec: storagev1.CSIDriverSpec{TokenRequests: []storagev1.TokenRequest{{Audience: "csi"}}}},
	)
}

func mirrorPod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: meta("kube-system", "static-n1"), Spec: corev1.PodSpec{NodeName: "n1"}}
	p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "n1-uid", Controller: ptr.To(true)}}
	for _, f := range change {
		f(p)
	}
	return p
}

func TestNodeRestrictionPods(t *testing.T) {
	mine := &corev1.Pod{ObjectMeta: meta("orange", "mine"), Spec: corev1.PodSpec{NodeName: "n1"}}
	other := &corev1.Pod{ObjectMeta: meta("orange", "other"), Spec: corev1.PodSpec{NodeName: "n2"}}
	labeled := mine.DeepCopy()
	labeled.Labels = map[string]string{"a": "b"}
	claimed := mine.DeepCopy()
	claimed.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "x"}}
	evict := func(name string) *Attributes {
		return of[*corev1.Pod](create(&policyv1.Eviction{ObjectMeta: meta("orange", name)}).sub("eviction"))
	}
	tests := []struct {
		name    string
		request *Attributes
		refusal string
	}{
		{name: "mirror pod", request: create(mirrorPod())},
		{name: "ordinary pod", request: create(mirrorPod(func(p *corev1.Pod) { p.Annotations = nil })), refusal: `pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods`},
		{name: "for another node", request: create(mirrorPod(func(p *corev1.Pod) { p.Spec.NodeName = "n2" })), refusal: `node "n1" can only create pods with spec.nodeName set to itself`},
		{name: "without an owner", request: create(mirrorPod(func(p *corev1.Pod) { p.OwnerReferences = nil })), refusal: `node "n1" can only create pods with an owner reference set to itself`},
		{name: "of a former node", request: create(mirrorPod(func(p *corev1.Pod) { p.OwnerReferences[0].UID = "old" })), refusal: "node n1 UID mismatch: expected old got n1-uid"},
		{name: "with an account", request: create(mirrorPod(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "x" })), refusal: `node "n1" can not create pods that reference serviceaccounts`},
		{name: "with a claim", request: create(mirrorPod(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}}}
		})), refusal: `node "n1" can not create pods that reference persistentvolumeclaims`},
		{name: "delete", request: remove(mine)},
		{name: "delete another's", request: remove(other), refusal: `pods "other" is forbidden: node "n1" can only delete pods with spec.nodeName set to itself`},
		{name: "delete none", request: remove(&corev1.Pod{ObjectMeta: meta("orange", "none")}), refusal: `pods "none" not found`},
		{name: "update", request: update(mine, mine), refusal: `unexpected operation "UPDATE", node "n1" can only create and delete mirror pods`},
		{name: "status", request: update(mine, mine).sub("status")},
		{name: "another's status", request: update(other, other).sub("status"), refusal: `node "n1" can only update pod status for pods with spec.nodeName set to itself`},
		{name: "labels by status", request: update(labeled, mine).sub("status"), refusal: `node "n1" cannot update labels through pod status`},
		{name: "claims by status", request: update(claimed, mine).sub("status"), refusal: `node "n1" cannot update resource claim statues`},
		{name: "eviction", request: evict("mine")},
		{name: "another's eviction", request: evict("other"), refusal: "node n1 can only evict pods with spec.nodeName set to itself"},
		{name: "another subresource", request: update(mine, mine).sub("ephemeralcontainers"), refusal: "unexpected pod subresource \"ephemeralcontainers\", only 'status' and 'eviction' are allowed"},
	}
	p := &nodeRestriction{lookup{reader: restricted()}, allowOnly{}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expect(t, p.Admit(context.Background(), test.request.by(authtest.Node("n1"))), test.refusal)
			if test.request.request() {
				expect(t, p.Validate(context.Background(), test.request), test.refusal)
			}
			expect(t, p.Admit(context.Background(), test.request.by(authtest.User("alice"))), "")
		})
	}
}

func TestNodeRestrictionNodes(t *testing.T) {
	node := func(name string, change ...func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: meta("", name)}
		n.Labels = map[string]string{}
		for _, f := range change {
			f(n)
		}
		return n
	}
	label := func(key string) func(*corev1.Node) { return func(n *corev1.Node) { n.Labels[key] = "x" } }
	tests := []struct {
		name    string
		request *Attributes
		refusal string
	}{
		{name: "its own", request: create(node("n1", label("kubernetes.io/os"), label("node.kubernetes.io/instance-type"), label("kubelet.kubernetes.io/a"), label("mine")))},
		{name: "another", request: create(node("n2")), refusal: `nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"`},
		{name: "restricted labels", request: create(node("n1", label("node-restriction.kubernetes.io/a"), label("node-role.kubernetes.io/master"))), refusal: `node "n1" is not allowed to set the following labels: node-restriction.kubernetes.io/a, node-role.kubernetes.io/master`},
		{name: "a label changes", request: update(node("n1"), node("n1", label("x.k8s.io/a"))), refusal: "is not allowed to modify labels: x.k8s.io/a"},
		{name: "taints", request: update(node("n1", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "a"}} }), node("n1")), refusal: `node "n1" is not allowed to modify taints`},
		{name: "owners", request: update(node("n1", func(n *corev1.Node) { n.OwnerReferences = []metav1.OwnerReference{{}} }), node("n1")), refusal: `node "n1" is not allowed to modify ownerReferences`},
		{name: "status", request: update(node("n1", func(n *corev1.Node) { n.Status.Phase = "x" }), node("n1")).sub("status")},
	}
	p := &nodeRestriction{lookup{reader: restricted()}, allowOnly{}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expect(t, p.Admit(context.Background(), test.request.by(authtest.Node("n1"))), test.refusal)
		})
	}
	t.Run("a kubelet without a name", func(t *testing.T) {
		u := &user.DefaultInfo{Name: "system:node:", Groups: []string{user.NodesGroup}}
		expect(t, p.Admit(context.Background(), create(node("n1")).by(u)), `could not determine node from user "system:node:"`)
	})
}

func TestNodeRestrictionCredentials(t *testing.T) {
	token := func(pod, uid string, audiences ...string) *Attributes {
		r := &authenticationv1.TokenRequest{ObjectMeta: meta("orange", "robot"), Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
		if pod != "" {
			r.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod}
			switch uid {
			case "":
				r.Spec.BoundObjectRef.UID = meta("", pod).UID
			case "none":
			default:
				r.Spec.BoundObjectRef.UID = types.UID(uid)
			}
		}
		return of[*corev1.ServiceAccount](create(r).sub("token"))
	}
	certificate := func(change ...func(*certificatesv1.PodCertificateRequestSpec)) *Attributes {
		r := &certificatesv1.PodCertificateRequest{ObjectMeta: meta("orange", "r"), Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: "example.com/s", PodName: "mine", PodUID: "mine-uid", ServiceAccountName: "robot", ServiceAccountUID: "robot-uid", NodeName: "n1", NodeUID: "n1-uid",
		}}
		for _, f := range change {
			f(&r.Spec)
		}
		return create(r)
	}
	lease := func(namespace, name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: meta(namespace, name)}
	}
	slice := func(node string) *resourcev1.ResourceSlice {
		return &resourcev1.ResourceSlice{ObjectMeta: meta("", "s"), Spec: resourcev1.ResourceSliceSpec{NodeName: &node}}
	}
	claim := func(size string, label string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: meta("orange", "c"), Status: corev1.PersistentVolumeClaimStatus{Capacity: list("storage", size)}}
		c.Labels = map[string]string{"a": label}
		return c
	}
	tests := []struct {
		name    string
		request *Attributes
		refusal string
	}{
		{name: "token of a projected volume", request: token("mine", "", "vault")},
		{name: "token of a CSI driver", request: token("mine", "", "csi")},
		{name: "token by right", request: token("mine", "", "granted")},
		{name: "token for another audience", request: token("mine", "", "evil"), refusal: `system:node:n1 is not authorized to request tokens for audience "evil"`},
		{name: "token for two", request: token("mine", "", "vault", "csi"), refusal: "node may only request 0 or 1 audiences"},
		{name: "token without a pod", request: token("", ""), refusal: "node requested token not bound to a pod"},
		{name: "token without a UID", request: token("mine", "none"), refusal: "node requested token with a pod binding without a uid"},
		{name: "token of a former pod", request: token("mine", "old-uid"), refusal: "the UID in the bound object reference (old-uid) does not match the UID in record"},
		{name: "token of another's pod", request: token("other", ""), refusal: "node requested token bound to a pod scheduled on a different node"},
		{name: "pod certificate", request: certificate()},
		{name: "pod certificate for another node", request: certificate(func(s *certificatesv1.PodCertificateRequestSpec) { s.NodeName = "n2" }), refusal: `PodCertificateRequest.Spec.NodeName="n2", which is not the requesting node "n1"`},
		{name: "pod certificate of another account", request: certificate(func(s *certificatesv1.PodCertificateRequestSpec) { s.ServiceAccountName = "x" }), refusal: "that differs from running pod"},
		{name: "pod certificate of another signer", request: certificate(func(s *certificatesv1.PodCertificateRequestSpec) { s.SignerName = "example.com/x" }), refusal: `does not mount a podCertificate projected volume for signer "example.com/x"`},
		{name: "lease", request: create(lease("kube-node-lease", "n1"))},
		{name: "another's lease", request: create(lease("kube-node-lease", "n2")), refusal: "can only access node lease with the same name as the requesting node"},
		{name: "lease elsewhere", request: update(lease("kube-system", "n1"), lease("kube-system", "n1")), refusal: `can only access leases in the "kube-node-lease" system namespace`},
		{name: "csinode", request: create(&storagev1.CSINode{ObjectMeta: meta("", "n1")})},
		{name: "another's csinode", request: create(&storagev1.CSINode{ObjectMeta: meta("", "n2")}), refusal: "can only access CSINode with the same name as the requesting node"},
		{name: "slice", request: create(slice("n1"))},
		{name: "another's slice", request: remove(slice("n2")), refusal: "can only delete ResourceSlice with the same NodeName as the requesting node"},
		{name: "resized claim", request: update(claim("2Gi", "x"), claim("1Gi", "x")).sub("status")},
		{name: "relabeled claim", request: update(claim("1Gi", "y"), claim("1Gi", "x")).sub("status"), refusal: `node "n1" is not allowed to update fields other than status.quantity and status.conditions`},
		{name: "claim", request: update(claim("1Gi", "y"), claim("1Gi", "x")), refusal: "may only update PVC status"},
		{name: "signing request", request: create(signing(t, certificatesv1.KubeletServingSignerName, "system:node:n1", "system:nodes"))},
		{name: "another's signing request", request: create(signing(t, certificatesv1.KubeletServingSignerName, "system:node:n2", "system:nodes")), refusal: "can only create a node CSR with CN=system:node:n1"},
		{name: "another signer", request: create(signing(t, "example.com/x", "whatever"))},
	}
	p := &nodeRestriction{lookup{reader: restricted()}, audienceGranted{}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expect(t, p.Admit(context.Background(), test.request.by(authtest.Node("n1"))), test.refusal)
		})
	}
}
