package nodes

import (
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

const ttlAnnotation = "node.alpha.kubernetes.io/ttl"

// ttlSteps is how long kubelets may keep what they read, in seconds, by how
// many nodes there are; the steps overlap so that nothing flaps.
var ttlSteps = []struct{ from, to, seconds int }{
	{0, 100, 0},
	{90, 500, 15},
	{450, 1000, 30},
	{900, 2000, 60},
	{1800, 1 << 30, 300},
}

// ttlStep is the step for a number of nodes, coming from another.
func ttlStep(step, nodes int) int {
	for nodes > ttlSteps[step].to {
		step++
	}
	for nodes < ttlSteps[step].from {
		step--
	}
	return step
}

// ttlState is a node and the seconds its annotation should say.
type ttlState struct {
	Node    *corev1.Node
	Seconds int
}

// TTL is ttl-controller.
func TTL(d loop.Deps) loop.Loop {
	all := cluster.Of[*corev1.Node](d.API)
	var step atomic.Int32
	return loop.New(d, loop.Spec[loop.Key, ttlState]{
		Name: "ttl-controller",
		Sources: []loop.Source[loop.Key]{{Cache: all, Keys: func(before, after kinds.Object) []loop.Key {
			step.Store(int32(ttlStep(int(step.Load()), len(all.Indexer().ListKeys()))))
			if after == nil || before != nil && before.GetAnnotations()[ttlAnnotation] == after.GetAnnotations()[ttlAnnotation] &&
				after.GetAnnotations()[ttlAnnotation] == fmt.Sprint(ttlSteps[step.Load()].seconds) {
				return nil
			}
			return owner.Self(before, after)
		}}},
		Observe: func(k loop.Key, _ time.Time) (ttlState, bool) {
			n, ok := cluster.Get[*corev1.Node](all, "", k.Name)
			return ttlState{n, ttlSteps[step.Load()].seconds}, ok
		},
		Compute: func(s ttlState, _ time.Time) plan.Plan {
			want := fmt.Sprint(s.Seconds)
			if s.Node.Annotations[ttlAnnotation] == want {
				return plan.Plan{}
			}
			data := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, ttlAnnotation, want)
			return plan.Plan{Do: []plan.Action{plan.Patch{Kind: kinds.ForObject(s.Node), Name: s.Node.Name, Type: types.StrategicMergePatchType, Data: data, MayMiss: true}}}
		},
	})
}
