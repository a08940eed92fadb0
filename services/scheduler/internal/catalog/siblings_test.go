package catalog

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
	"coracle.local/services/scheduler/internal/harness"
)

func listing[T kinds.Object](t *testing.T, objects ...T) client.Lister[T] {
	t.Helper()
	x := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, o := range objects {
		if err := x.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	return client.ListerOf[T](x)
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }

func owned(apiVersion, kind, name string) harness.PodOption {
	return func(p *corev1.Pod) {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, Controller: &yes}}
	}
}

func TestSiblings(t *testing.T) {
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"hash": "1"}}
	c := &Catalog{
		services: listing(t,
			&corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}},
			&corev1.Service{ObjectMeta: meta("all"), Spec: corev1.ServiceSpec{Selector: map[string]string{"tier": "front"}}},
			&corev1.Service{ObjectMeta: meta("by-hand")}),
		controllers: listing(t, &corev1.ReplicationController{ObjectMeta: meta("old"), Spec: corev1.ReplicationControllerSpec{Selector: map[string]string{"rc": "old"}}}),
		replicaSets: listing(t, &appsv1.ReplicaSet{ObjectMeta: meta("web-1"), Spec: appsv1.ReplicaSetSpec{Selector: selector}}),
		stateful:    listing(t, &appsv1.StatefulSet{ObjectMeta: meta("db"), Spec: appsv1.StatefulSetSpec{Selector: selector}}),
	}
	tests := []struct {
		name string
		pod  *corev1.Pod
		want string
	}{
		{"nobody's", harness.NewPod("p", harness.Labels("app", "other")), ""},
		{"two services'", harness.NewPod("p", harness.Labels("app", "web", "tier", "front")), "app=web,tier=front"},
		{"a ReplicaSet's and a service's", harness.NewPod("p", harness.Labels("app", "web"), owned("apps/v1", "ReplicaSet", "web-1")), "app=web,hash=1"},
		{"a StatefulSet's", harness.NewPod("p", owned("apps/v1", "StatefulSet", "db")), "hash=1"},
		{"a ReplicationController's", harness.NewPod("p", owned("v1", "ReplicationController", "old")), "rc=old"},
		{"a ReplicaSet's that is gone", harness.NewPod("p", owned("apps/v1", "ReplicaSet", "gone")), ""},
		{"a DaemonSet's", harness.NewPod("p", owned("apps/v1", "DaemonSet", "agent")), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := c.Siblings(tt.pod).String(); got != tt.want {
				t.Errorf("selector is %q, want %q", got, tt.want)
			}
		})
	}
}
