package managed

import (
	"encoding/json"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/strategy"
)

type strategies struct{}

func (strategies) Strategy(k *kinds.Kind) *strategy.Erased { return strategy.Shallow(k) }

var configMap = kinds.For[*corev1.ConfigMap]()

// shown is the managed fields without their times.
func shown(t *testing.T, o metav1.Object) string {
	t.Helper()
	entries := o.GetManagedFields()
	for i := range entries {
		entries[i].Time = nil
	}
	raw, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// What is expected here is what upstream's API server answered.
func TestCreateAndUpdate(t *testing.T) {
	m := New(strategies{})
	a := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}, Data: map[string]string{"x": "y"}}
	m.Created(configMap, a, "oracle")
	if got, want := shown(t, a), `[{"manager":"oracle","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{".":{},"f:x":{}}}}]`; got != want {
		t.Errorf("created:\ngot  %s\nwant %s", got, want)
	}
	a.UID = "u"
	b := a.DeepCopy()
	b.Labels = map[string]string{"q": "r"}
	m.Updated(configMap, "", a, b, "oracle")
	if got, want := shown(t, b), `[{"manager":"oracle","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{".":{},"f:x":{}},"f:metadata":{"f:labels":{".":{},"f:q":{}}}}}]`; got != want {
		t.Errorf("updated:\ngot  %s\nwant %s", got, want)
	}
	if a.Kind != "" || b.Kind != "" {
		t.Error("the kind is left set")
	}
	empty := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm0"}}
	m.Created(configMap, empty, "oracle")
	if len(empty.ManagedFields) != 0 {
		t.Errorf("an empty object: %s", shown(t, empty))
	}
}

func apply(t *testing.T, m *Managers, k *kinds.Kind, current kinds.Object, config, who string, force bool) (kinds.Object, error) {
	t.Helper()
	u, _, err := Read([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return m.Apply(k, "", current, u, who, force)
}

func TestApplyConflicts(t *testing.T) {
	m := New(strategies{})
	a := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default", UID: "u"}, Data: map[string]string{"x": "y", "k": "2"}}
	m.Created(configMap, a, "oracle")
	const config = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"mine"}}`
	_, err := apply(t, m, configMap, a, config, "me", false)
	if !apierrors.IsConflict(err) || err.Error() != `Apply failed with 1 conflict: conflict with "oracle" using v1: .data.x` {
		t.Errorf("error %v", err)
	}
	got, err := apply(t, m, configMap, a, config, "me", true)
	if err != nil {
		t.Fatal(err)
	}
	if data := got.(*corev1.ConfigMap).Data; data["x"] != "mine" || data["k"] != "2" {
		t.Errorf("data %v", data)
	}
	if got, want := shown(t, got), `[{"manager":"me","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:x":{}}}},{"manager":"oracle","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{".":{},"f:k":{}}}}]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestApplyCreatesAndMergesLists(t *testing.T) {
	m := New(strategies{})
	k := kinds.For[*appsv1.Deployment]()
	const template = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: default}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
`
	first, err := apply(t, m, k, k.New(), template+"      - {name: one, image: i}\n", "me", false)
	if err != nil {
		t.Fatal(err)
	}
	d := first.(*appsv1.Deployment)
	d.UID = "u"
	second, err := apply(t, m, k, d, template+"      - {name: two, image: j}\n", "other", true)
	if err != nil {
		t.Fatal(err)
	}
	containers := second.(*appsv1.Deployment).Spec.Template.Spec.Containers
	if len(containers) != 2 || containers[0].Name != "one" || containers[1].Name != "two" {
		t.Errorf("containers %v", containers)
	}
	if d := second.(*appsv1.Deployment); d.Kind != "" || d.Name != "d" {
		t.Errorf("%+v", d.TypeMeta)
	}
}

func TestApplyRefusals(t *testing.T) {
	m := New(strategies{})
	tests := []struct{ name, config, want string }{
		{"unknown field", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"dataz":{"x":"mine"}}`, "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .dataz: field not declared in schema"},
		{"another version", `{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"a"}}`, "invalid object type: /v2, Kind=ConfigMap"},
		{"managed fields", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","managedFields":[{"manager":"x"}]}}`, "metadata.managedFields must be nil"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := apply(t, m, configMap, configMap.New(), tt.config, "me", false)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestResetFieldsAreNotNoted(t *testing.T) {
	m := New(strategies{})
	k := kinds.For[*appsv1.Deployment]()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Paused: true}, Status: appsv1.DeploymentStatus{Replicas: 3}}
	m.Created(k, d, "me")
	if got := shown(t, d); strings.Contains(got, "f:status") || !strings.Contains(got, "f:paused") {
		t.Errorf("created: %s", got)
	}
	d.UID = "u"
	next := d.DeepCopy()
	next.Status.Replicas = 4
	m.Updated(k, "status", d, next, "controller")
	if got := shown(t, next); !strings.Contains(got, `{"manager":"controller","operation":"Update","apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:replicas":{}}},"subresource":"status"}`) {
		t.Errorf("status: %s", got)
	}
}

func TestEveryKindHasAType(t *testing.T) {
	types, err := loadTypes()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds.All() {
		if !types.parser.Type(nameOf(k)).IsValid() {
			t.Errorf("%s has no type", nameOf(k))
		}
	}
}

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", Labels: map[string]string{"app": "a", "tier": "b"}, Annotations: map[string]string{"x": "y"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "i", Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}},
			Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
		}}},
	}
}

func BenchmarkCreatePod(b *testing.B) {
	m := New(strategies{})
	k := kinds.For[*corev1.Pod]()
	p := pod()
	b.ReportAllocs()
	for b.Loop() {
		p.ManagedFields = nil
		m.Created(k, p, "me")
	}
}

func BenchmarkUpdateStatus(b *testing.B) {
	m := New(strategies{})
	k := kinds.For[*corev1.Pod]()
	p := pod()
	m.Created(k, p, "me")
	p.UID = "u"
	next := p.DeepCopy()
	next.Status.Phase = corev1.PodRunning
	next.Status.Conditions = []corev1.PodCondition{{Type: "Ready", Status: "True"}, {Type: "Initialized", Status: "True"}}
	b.ReportAllocs()
	for b.Loop() {
		m.Updated(k, "status", p, next.DeepCopy(), "kubelet")
	}
}
