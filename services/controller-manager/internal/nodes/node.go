// Package nodes watches over nodes and the pods on them: whether kubelets are
// alive, which taints follow, who is evicted, and which address range a node
// gives to its pods.
package nodes

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/plan"
)

// byNode is the index of pods by their node.
const byNode = "spec.nodeName"

func nodeIndex(v any) ([]string, error) {
	p, ok := v.(*corev1.Pod)
	if !ok || p.Spec.NodeName == "" {
		return nil, nil
	}
	return []string{p.Spec.NodeName}, nil
}

func podsByNode(api cluster.API) cluster.Cache {
	c := cluster.Of[*corev1.Pod](api)
	c.Index(byNode, nodeIndex)
	return c
}

func condition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// readyStatus is a node's Ready condition; Unknown if it has none.
func readyStatus(n *corev1.Node) corev1.ConditionStatus {
	if c := condition(n, corev1.NodeReady); c != nil {
		return c.Status
	}
	return corev1.ConditionUnknown
}

func taint(n *corev1.Node, key string, effect corev1.TaintEffect) *corev1.Taint {
	for i := range n.Spec.Taints {
		if t := &n.Spec.Taints[i]; t.Key == key && t.Effect == effect {
			return t
		}
	}
	return nil
}

// without returns taints except those that drop is true for.
func without(taints []corev1.Taint, drop func(corev1.Taint) bool) []corev1.Taint {
	return slices.DeleteFunc(slices.Clone(taints), drop)
}

// setTaints replaces a node's taints, provided that it is as it was seen: the
// list is replaced as a whole, and others write it, too.
func setTaints(n *corev1.Node, taints []corev1.Taint) plan.Action {
	if taints == nil {
		taints = []corev1.Taint{}
	}
	return patchNode(n, types.MergePatchType, map[string]any{
		"metadata": map[string]any{"resourceVersion": n.ResourceVersion},
		"spec":     map[string]any{"taints": taints},
	})
}

func patchNode(n *corev1.Node, pt types.PatchType, patch map[string]any) plan.Action {
	data, err := json.Marshal(patch)
	if err != nil {
		panic(err) // API types always marshal
	}
	return plan.Patch{Kind: kinds.ForObject(n), Name: n.Name, Type: pt, Data: data}
}

// nodeEvent is an event about a node in the words of upstream's helper.
func nodeEvent(n *corev1.Node, reason, format string, args ...any) plan.Action {
	return plan.Event{
		About: n, Type: corev1.EventTypeNormal, Reason: reason,
		Message: fmt.Sprintf("Node %s event: %s", n.Name, fmt.Sprintf(format, args...)),
	}
}

// statusEvent tells that a node came into some state.
func statusEvent(n *corev1.Node, status string) plan.Action {
	return plan.Event{About: n, Type: corev1.EventTypeNormal, Reason: status, Message: fmt.Sprintf("Node %s status is now: %s", n.Name, status)}
}

// disrupted is a patch of a pod's status with the condition that says why the
// control plane ends it. phase, if not empty, is set as well.
func disrupted(p *corev1.Pod, reason, message string, phase corev1.PodPhase, now time.Time) plan.Action {
	status := map[string]any{}
	if reason != "" {
		c := corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: message,
			ObservedGeneration: p.Generation, LastTransitionTime: metav1.NewTime(now),
		}
		status["conditions"] = []corev1.PodCondition{c}
	}
	if phase != "" {
		status["phase"] = phase
		status["observedGeneration"] = p.Generation
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": status})
	if err != nil {
		panic(err) // API types always marshal
	}
	return plan.Patch{
		Kind: kinds.ForObject(p), Namespace: p.Namespace, Name: p.Name, Type: types.StrategicMergePatchType,
		Data: data, Subresource: "status", MayMiss: true,
	}
}
