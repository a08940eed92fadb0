package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// register makes the Node, or takes over the one of an earlier run.
func (k *Keeper) register(ctx context.Context) bool {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 7*time.Second) {
		n, err := k.tryRegister(ctx)
		if err == nil {
			k.cfg.Log.Info("node is registered")
			k.Seen(n)
			close(k.registered)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		k.cfg.Log.Info("node is not registered yet", zap.Error(err))
		if !k.pause(ctx, wait) {
			return false
		}
	}
}

func (k *Keeper) tryRegister(ctx context.Context) (*corev1.Node, error) {
	fresh := k.initial(ctx)
	if k.cfg.Register {
		n, err := k.cfg.Nodes.Create(ctx, fresh)
		if err == nil {
			k.reported = k.cfg.Clock.Now()
			k.announce(nil, n)
			return n, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("create node: %w", err)
		}
	}
	old, err := k.cfg.Nodes.Get(ctx, "", k.cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("get node: %w", err)
	}
	return k.relabel(ctx, old, fresh)
}

// initial is the Node of a new machine.
func (k *Keeper) initial(ctx context.Context) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: k.cfg.Name, Labels: k.labels()},
		Spec:       corev1.NodeSpec{Taints: slices.Clone(k.cfg.Taints), ProviderID: k.cfg.ProviderID},
	}
	n.Status = Status(k.cfg.Facts(ctx), corev1.NodeStatus{})
	return n
}

func (k *Keeper) labels() map[string]string {
	labels := map[string]string{
		corev1.LabelHostname: k.cfg.Hostname, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
		"beta.kubernetes.io/os": runtime.GOOS, "beta.kubernetes.io/arch": runtime.GOARCH,
	}
	maps.Copy(labels, k.cfg.Labels)
	return labels
}

// relabel puts right the labels that a kubelet answers for.
func (k *Keeper) relabel(ctx context.Context, old, fresh *corev1.Node) (*corev1.Node, error) {
	change := map[string]string{}
	for key, v := range fresh.Labels {
		if old.Labels[key] != v {
			change[key] = v
		}
	}
	if len(change) == 0 {
		return old, nil
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": change}})
	if err != nil {
		return nil, err
	}
	n, err := k.cfg.Nodes.Patch(ctx, "", k.cfg.Name, types.MergePatchType, data, "")
	if err != nil {
		return nil, fmt.Errorf("label node: %w", err)
	}
	return n, nil
}
