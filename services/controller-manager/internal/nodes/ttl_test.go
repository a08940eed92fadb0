package nodes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/controller-manager/internal/workbench"
)

func TestTTLSteps(t *testing.T) {
	for _, c := range []struct{ step, nodes, want int }{{0, 1, 0}, {0, 101, 1}, {1, 95, 1}, {1, 89, 0}, {0, 5000, 4}, {4, 10, 0}} {
		if got := ttlStep(c.step, c.nodes); got != c.want {
			t.Errorf("from step %d with %d nodes: %d", c.step, c.nodes, got)
		}
	}
}

func TestNodesAreToldTheirTTL(t *testing.T) {
	b := workbench.New(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	b.Add(TTL(b.Deps()))
	b.Settle()
	if got := workbench.Get[*corev1.Node](b, "", "n").Annotations[ttlAnnotation]; got != "0" {
		t.Fatalf("annotation %q", got)
	}
}
