package admission

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	clocktesting "k8s.io/utils/clock/testing"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth/authtest"
)

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name + "-uid")}
}

// create and the like make the attributes of a request by an ordinary user.
func create(o kinds.Object) *Attributes {
	return &Attributes{Kind: kinds.ForObject(o), Namespace: o.GetNamespace(), Name: o.GetName(), Operation: Create, Object: o, User: authtest.User("alice")}
}

func update(o, old kinds.Object) *Attributes {
	a := create(o)
	a.Operation, a.Old = Update, old
	return a
}

func remove(old kinds.Object) *Attributes {
	a := create(old)
	a.Operation, a.Object, a.Old = Delete, nil, old
	return a
}

func (a *Attributes) by(u user.Info) *Attributes { a.User = u; return a }

func (a *Attributes) sub(name string) *Attributes { a.Subresource = name; return a }

// of makes the request one about a subresource of another kind than its
// object's.
func of[T kinds.Object](a *Attributes) *Attributes { a.Kind = kinds.For[T](); return a }

// warnings collects what the client is told.
func (a *Attributes) warnings() *[]string {
	var out []string
	a.Warn = func(s string) { out = append(out, s) }
	return &out
}

// expect checks a plugin's answer; an empty refusal means none.
func expect(t *testing.T, err error, refusal string) {
	t.Helper()
	switch {
	case refusal == "" && err != nil:
		t.Errorf("refused: %v", err)
	case refusal != "" && err == nil:
		t.Errorf("admitted, want %s", refusal)
	case refusal != "" && !strings.Contains(err.Error(), refusal):
		t.Errorf("got  %v\nwant %s", err, refusal)
	}
}

// allowOnly permits one verb on one name.
type allowOnly struct{ verb, name string }

func (z allowOnly) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetVerb() == z.verb && a.GetName() == z.name {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func TestNewChain(t *testing.T) {
	tests := []struct {
		name            string
		enable, disable []string
		unavailable     []string
		has, hasNot     any
		fails           string
	}{
		{name: "defaults", has: &limitRanger{}, hasNot: &nodeRestriction{}},
		{name: "one more", enable: []string{"NodeRestriction"}, has: &nodeRestriction{}},
		{name: "one less", disable: []string{"ServiceAccount"}, hasNot: &serviceAccount{}},
		{name: "one without the configuration it needs", enable: []string{"EventRateLimit"}, fails: `couldn't init admission plugin "EventRateLimit": limits: Invalid value: null: must not be empty`},
		{name: "unknown", enable: []string{"Nonsense"}, fails: `enable-admission-plugins plugin "Nonsense" is unknown`},
		{name: "unknown and off", disable: []string{"Nonsense"}, fails: `disable-admission-plugins plugin "Nonsense" is unknown`},
		{name: "on and off", enable: []string{"Priority"}, disable: []string{"Priority"}, fails: "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			chain, unavailable, err := New(Config{Reader: authtest.New(), Enable: test.enable, Disable: test.disable})
			expect(t, err, test.fails)
			if test.fails != "" {
				return
			}
			if !reflect.DeepEqual(unavailable, test.unavailable) {
				t.Errorf("unavailable %q", unavailable)
			}
			types := map[reflect.Type]bool{}
			for _, m := range chain.Mutators {
				types[reflect.TypeOf(m)] = true
			}
			if test.has != nil && !types[reflect.TypeOf(test.has)] {
				t.Errorf("lacks %T", test.has)
			}
			if test.hasNot != nil && types[reflect.TypeOf(test.hasNot)] {
				t.Errorf("has %T", test.hasNot)
			}
		})
	}
}

// The plugins that upstream's kube-apiserver --help says are on, in its order.
func TestDefaultsAreUpstreams(t *testing.T) {
	want := []string{
		"NamespaceLifecycle", "LimitRanger", "ServiceAccount", "TaintNodesByCondition", "PodSecurity", "Priority", "DefaultTolerationSeconds",
		"DefaultStorageClass", "StorageObjectInUseProtection", "PodGroupProtection", "PersistentVolumeClaimResize", "RuntimeClass",
		"CertificateApproval", "CertificateSigning", "ClusterTrustBundleAttest", "CertificateSubjectRestriction", "DefaultIngressClass",
		"PodTopologyLabels", "NodeDeclaredFeatureValidator", "PodResizeValidator", "MutatingAdmissionPolicy", "MutatingAdmissionWebhook",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook", "ResourceQuota",
	}
	var have []string
	for _, p := range plugins() {
		if p.byDefault {
			have = append(have, p.name)
		}
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("on by default: %q", have)
	}
	if len(plugins()) != 39 {
		t.Errorf("%d plugins, upstream has 39", len(plugins()))
	}
}

// One pod through the whole default chain, as every pod goes.
func TestPodThroughChain(t *testing.T) {
	cluster := authtest.New(
		&corev1.Namespace{ObjectMeta: meta("", "orange"), Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}},
		&corev1.ServiceAccount{ObjectMeta: meta("orange", "default")},
	)
	chain, _, err := New(Config{Reader: cluster})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: meta("orange", "p"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	a := create(pod)
	expect(t, chain.Admit(context.Background(), a), "")
	expect(t, chain.Validate(context.Background(), a), "")
	if pod.Spec.ServiceAccountName != "default" || len(pod.Spec.Volumes) != 1 || len(pod.Spec.Tolerations) != 2 || *pod.Spec.Priority != 0 || *pod.Spec.PreemptionPolicy != corev1.PreemptLowerPriority {
		t.Errorf("pod %+v", pod.Spec)
	}
	before := pod.DeepCopy()
	expect(t, chain.Admit(context.Background(), a), "")
	if !reflect.DeepEqual(before, pod) {
		t.Error("a second round changed the pod")
	}
}

func TestNamespaceLifecycle(t *testing.T) {
	active := &corev1.Namespace{ObjectMeta: meta("", "orange"), Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}}
	going := &corev1.Namespace{ObjectMeta: meta("", "going"), Status: corev1.NamespaceStatus{Phase: corev1.NamespaceTerminating}}
	system := &corev1.Namespace{ObjectMeta: meta("", "kube-system")}
	configMap := func(namespace string) *corev1.ConfigMap { return &corev1.ConfigMap{ObjectMeta: meta(namespace, "c")} }
	tests := []struct {
		name    string
		request *Attributes
		refusal string
	}{
		{name: "in a namespace", request: create(configMap("orange"))},
		{name: "in none", request: create(configMap("nowhere")), refusal: `namespaces "nowhere" not found`},
		{name: "in one that ends", request: create(configMap("going")), refusal: `configmaps "c" is forbidden: unable to create new content in namespace going because it is being terminated`},
		{name: "an update in one that ends", request: update(configMap("going"), configMap("going"))},
		{name: "a deletion in one that ends", request: remove(configMap("going"))},
		{name: "a new namespace", request: create(&corev1.Namespace{ObjectMeta: meta("", "new")})},
		{name: "deletion of the system's", request: remove(system), refusal: `namespaces "kube-system" is forbidden: this namespace may not be deleted`},
		{name: "deletion of a namespace", request: remove(active)},
		{name: "cluster-wide", request: create(&corev1.Node{ObjectMeta: meta("", "n")})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newNamespaceLifecycle(Config{Reader: authtest.New(active, going, system), Clock: clocktesting.NewFakeClock(start)})
			err := p.Admit(context.Background(), test.request)
			expect(t, err, test.refusal)
			if test.request.Operation == Delete {
				expect(t, p.Validate(context.Background(), test.request), test.refusal)
			}
			if strings.Contains(test.refusal, "terminated") && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				t.Errorf("no cause in %v", err)
			}
		})
	}
}

func TestNamespaceIsLookedUpWhereItIsStored(t *testing.T) {
	stored := authtest.New(
		&corev1.Namespace{ObjectMeta: meta("", "fresh"), Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}},
		&corev1.Namespace{ObjectMeta: meta("", "gone"), Status: corev1.NamespaceStatus{Phase: corev1.NamespaceTerminating}},
	)
	late := authtest.New(&corev1.Namespace{ObjectMeta: meta("", "gone"), Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}})
	live := func(_ context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
		if o, ok := stored.Get(k, namespace, name); ok {
			return o, nil
		}
		return nil, apierrors.NewNotFound(k.GroupResource(), name)
	}
	p := newNamespaceLifecycle(Config{Reader: late, Live: live, Clock: clocktesting.NewFakeClock(start)})
	expect(t, p.Admit(context.Background(), create(&corev1.ConfigMap{ObjectMeta: meta("fresh", "c")})), "")
	inGone := create(&corev1.ConfigMap{ObjectMeta: meta("gone", "c")})
	expect(t, p.Admit(context.Background(), inGone), "")
	expect(t, p.Admit(context.Background(), remove(&corev1.Namespace{ObjectMeta: meta("", "gone")})), "")
	expect(t, p.Admit(context.Background(), inGone), "because it is being terminated")
}

func TestAlwaysDeny(t *testing.T) {
	expect(t, alwaysDeny{}.Validate(context.Background(), create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", GenerateName: "c-"}})),
		`configmaps "c-" is forbidden: admission control is denying all modifications`)
}
