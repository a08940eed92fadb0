package podfiles

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/volume"
)

// Hollow is for nodes without containers: nothing is written. What a pod names
// itself must still exist, so that a pod that waits for its ConfigMap waits
// here as it does elsewhere; what was added to it, such as its token, is not
// asked for.
type Hollow struct{ Objects volume.Objects }

// Mount checks that what the pod's volumes name is there.
func (h Hollow) Mount(ctx context.Context, pod *corev1.Pod, _ []string) (time.Time, error) {
	var errs []error
	check := func(name string, err error, optional *bool) {
		if err != nil && (!apierrors.IsNotFound(err) || optional == nil || !*optional) {
			errs = append(errs, &volume.MountError{Volume: name, Err: err})
		}
	}
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.ConfigMap != nil:
			_, err := h.Objects.ConfigMap(ctx, pod.Namespace, v.ConfigMap.Name)
			check(v.Name, err, v.ConfigMap.Optional)
		case v.Secret != nil:
			_, err := h.Objects.Secret(ctx, pod.Namespace, v.Secret.SecretName)
			check(v.Name, err, v.Secret.Optional)
		}
	}
	return time.Time{}, errors.Join(errs...)
}

// Container shows nothing.
func (Hollow) Container(*corev1.Pod, *corev1.Container, int, []engine.KeyValue, []string) ([]engine.Mount, error) {
	return nil, nil
}

// Message is always empty.
func (Hollow) Message(types.UID, string, int) string { return "" }

// Remove has nothing to do.
func (Hollow) Remove(types.UID) error { return nil }

// Pods is always empty.
func (Hollow) Pods() ([]types.UID, error) { return nil, nil }
