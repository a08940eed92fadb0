package admission

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/auth/authtest"
)

// Devices are for those who may have them, in upstream's words.
func TestClaimRights(t *testing.T) {
	labelled := &corev1.Namespace{ObjectMeta: meta("", "labelled")}
	labelled.Labels = map[string]string{resourcev1.DRAAdminNamespaceLabelKey: "true"}
	cluster := authtest.New(&corev1.Namespace{ObjectMeta: meta("", "plain")}, labelled)
	claim := func(namespace string, admin bool, s resourcev1.ResourceClaimStatus) *resourcev1.ResourceClaim {
		c := &resourcev1.ResourceClaim{ObjectMeta: meta(namespace, "c"), Status: s}
		c.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "a", Exactly: &resourcev1.ExactDeviceRequest{AdminAccess: ptr.To(admin)}}}
		return c
	}
	none := resourcev1.ResourceClaimStatus{}
	given := resourcev1.ResourceClaimStatus{Allocation: &resourcev1.AllocationResult{
		NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}},
		}}},
		Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{{Request: "a", Driver: "d", Pool: "p", Device: "x"}}},
	}}
	said := *given.DeepCopy()
	said.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d", Pool: "p", Device: "x"}}
	status := func(now, before resourcev1.ResourceClaimStatus) *Attributes {
		return update(claim("plain", false, now), claim("plain", false, before)).sub("status")
	}
	account := &user.DefaultInfo{Name: "system:serviceaccount:plain:driver", Extra: map[string][]string{serviceaccount.NodeNameKey: {"n1"}}}
	for _, test := range []struct {
		name    string
		rights  allowOnly
		request *Attributes
		refusal string
	}{
		{name: "ordinary", request: create(claim("plain", false, none))},
		{name: "administrator", request: create(claim("plain", true, none)), refusal: "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label"},
		{name: "administrator where that is right", request: create(claim("labelled", true, none))},
		{name: "bound", rights: allowOnly{"update", ""}, request: status(given, none)},
		{name: "bound without the right", request: status(given, none), refusal: `resource="resourceclaims/binding", verb="update" permission: resourceclaims.resource.k8s.io is forbidden: User "alice" cannot update resource "resourceclaims/binding"`},
		{name: "unchanged", request: status(said, said)},
		{name: "said", rights: allowOnly{"arbitrary-node:update", "d"}, request: status(said, given)},
		{name: "said without the right", request: status(said, given), refusal: `verb="[arbitrary-node:update]" permission: resourceclaims.resource.k8s.io "d" is forbidden`},
		{name: "taken back without the right", request: status(given, said), refusal: `verb="[arbitrary-node:update]"`},
		{name: "said on the node", rights: allowOnly{"associated-node:update", "d"}, request: status(said, given).by(account)},
		{name: "said on the node without the right", request: status(said, given).by(account), refusal: `verb="[associated-node:update arbitrary-node:update]"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &claimRights{lookup{reader: cluster}, test.rights}
			var err error
			if errs := p.Permit(context.Background(), test.request); len(errs) > 0 {
				err = errs.ToAggregate()
			}
			expect(t, err, test.refusal)
		})
	}
}
