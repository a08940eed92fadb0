package oracle

import (
	"context"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

// TestAddressesAreAdmittedAlike has a policy about IPAddresses, which both servers
// hold the addresses of Services to.
func TestAddressesAreAdmittedAlike(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	forbidAddresses(t, c.Clients)
	upstream, err := kubernetes.NewForConfig(startUpstream(t, c))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, ip, want string }{
		{"some", "", ""},
		{"some", "10.96.0.77", ""},
		{"barred", "", "is for nobody"},
		{"some", "10.96.0.66", "is for nobody"},
	} {
		ours, theirs := told(t, c.Clients, test.name, test.ip, test.want), told(t, upstream, test.name, test.ip, test.want)
		if ours != theirs || !strings.Contains(ours, test.want) {
			t.Errorf("%s %s\nours   %s\ntheirs %s", test.name, test.ip, ours, theirs)
		}
	}
}

func forbidAddresses(t *testing.T, clients kubernetes.Interface) {
	t.Helper()
	ctx := context.Background()
	meta := metav1.ObjectMeta{Name: "addresses"}
	rule := admissionv1.RuleWithOperations{Operations: []admissionv1.OperationType{"CREATE"}, Rule: admissionv1.Rule{
		APIGroups: []string{"networking.k8s.io"}, APIVersions: []string{"v1"}, Resources: []string{"ipaddresses"},
	}}
	_, err := clients.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: rule}}},
		Validations: []admissionv1.Validation{{
			Expression: "object.metadata.name != '10.96.0.66' && object.spec.parentRef.name != 'barred' && request.userInfo.username == 'system:apiserver'",
			Message:    "it is for nobody",
		}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = clients.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: meta, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "addresses", ValidationActions: []admissionv1.ValidationAction{"Deny"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// told asks for a Service until the server is as far as to refuse it, if it is to.
func told(t *testing.T, clients kubernetes.Interface, name, ip, want string) (answer string) {
	t.Helper()
	ctx := context.Background()
	services := clients.CoreV1().Services("default")
	fixture.Eventually(t, 20*time.Second, "answered", func() bool {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}}}
		_, err := services.Create(ctx, s, metav1.CreateOptions{})
		if err == nil {
			answer = ""
			if err := services.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			return want == ""
		}
		answer = hide(err.Error())
		return true
	})
	return answer
}
