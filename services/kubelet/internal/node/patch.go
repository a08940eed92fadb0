package node

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// patch writes the difference between two statuses of a Node.
func (k *Keeper) patch(ctx context.Context, old *corev1.Node, fresh corev1.NodeStatus) (*corev1.Node, error) {
	before, err := json.Marshal(corev1.Node{Status: old.Status})
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(corev1.Node{Status: fresh})
	if err != nil {
		return nil, err
	}
	data, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Node{})
	if err != nil {
		return nil, fmt.Errorf("compare statuses: %w", err)
	}
	if !equality.Semantic.DeepEqual(old.Status.Addresses, fresh.Addresses) {
		if data, err = replaceAddresses(data, fresh.Addresses); err != nil {
			return nil, err
		}
	}
	n, err := k.cfg.Nodes.Patch(ctx, "", k.cfg.Name, types.StrategicMergePatchType, data, "status")
	if err != nil {
		return nil, fmt.Errorf("write node status: %w", err)
	}
	return n, nil
}

// replaceAddresses has the list of addresses replaced. Merging would go by
// their type, of which there can be two in a node of two IP families.
func replaceAddresses(patch []byte, addresses []corev1.NodeAddress) ([]byte, error) {
	var p map[string]any
	if err := json.Unmarshal(patch, &p); err != nil {
		return nil, err
	}
	status, ok := p["status"].(map[string]any)
	if !ok {
		status = map[string]any{}
		p["status"] = status
	}
	list := []any{}
	for _, a := range addresses {
		list = append(list, map[string]any{"type": a.Type, "address": a.Address})
	}
	status["addresses"] = append(list, map[string]any{"$patch": "replace"})
	delete(status, "$setElementOrder/addresses")
	return json.Marshal(p)
}
