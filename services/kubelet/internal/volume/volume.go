// Package volume puts a pod's volumes on the node and says what of them a
// container is shown. Volumes made of objects are rendered again when those
// change; a container sees all files of such a volume change at once.
package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/downward"
	"coracle.local/services/kubelet/internal/mountns"
	"coracle.local/services/kubelet/internal/poddir"
	"coracle.local/services/kubelet/internal/token"
)

// Objects are where ConfigMaps and Secrets come from.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Tokens are where service account tokens come from.
type Tokens interface {
	For(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (token.Token, error)
}

// Manager keeps the volumes of a node's pods. Calls for different pods may run
// at the same time, those for one pod must not.
type Manager struct {
	Log     *zap.Logger
	Root    poddir.Root
	Host    mountns.Namespace
	Objects Objects
	Tokens  Tokens
	Node    func() downward.Node
	Clock   clock.PassiveClock
}

// Mount puts all of a pod's volumes on the node, or brings those that are there
// up to date. The result is when they have to be looked at again even if
// nothing changes; zero for never. An error names the first volume that failed;
// the others are there.
func (m *Manager) Mount(ctx context.Context, pod *corev1.Pod, podIPs []string) (due time.Time, err error) {
	if err := m.Root.Make(pod.UID); err != nil {
		return time.Time{}, err
	}
	var all payload
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		expires, err := m.mount(ctx, pod, v, podIPs)
		if err != nil {
			errs = append(errs, &MountError{Volume: v.Name, Err: err})
		}
		all.expire(expires)
	}
	return all.due, errors.Join(errs...)
}

// MountError tells which volume could not be set up, in upstream's words.
type MountError struct {
	Volume string
	Err    error
}

func (e *MountError) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

func (e *MountError) Unwrap() error { return e.Err }

func (m *Manager) mount(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, podIPs []string) (time.Time, error) {
	p, kind, rendered, err := m.render(ctx, pod, v, podIPs)
	switch {
	case err != nil:
		return time.Time{}, err
	case rendered:
		dir := m.Root.Volume(pod.UID, kind, v.Name)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return time.Time{}, err
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			return time.Time{}, err
		}
		return p.due, write(dir, p.files, m.Clock.Now(), ownership(fsGroup(pod), true))
	case v.EmptyDir != nil || noSource(v):
		return time.Time{}, m.emptyDir(pod, v)
	case v.HostPath != nil:
		return time.Time{}, m.Host.Do(func() error { return checkHostPath(v.HostPath) })
	}
	return time.Time{}, errors.New("no volume plugin matched")
}

// noSource: the API's default for a volume that names nothing is an emptyDir.
func noSource(v *corev1.Volume) bool { return v.VolumeSource == corev1.VolumeSource{} }

// emptyDir makes the directory once; what is in it is the pod's.
func (m *Manager) emptyDir(pod *corev1.Pod, v *corev1.Volume) error {
	dir := m.Root.Volume(pod.UID, "empty-dir", v.Name)
	_, err := os.Stat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return err
	}
	if fresh {
		if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777); err != nil { // whatever the umask is
			return err
		}
	}
	var medium corev1.StorageMedium
	if v.EmptyDir != nil {
		medium = v.EmptyDir.Medium
	}
	switch medium {
	case corev1.StorageMediumDefault:
		if own := ownership(fsGroup(pod), false); fresh && own != nil {
			return own(dir)
		}
		return nil
	case corev1.StorageMediumMemory:
		mode, group := os.FileMode(0o777), int64(-1)
		if g := fsGroup(pod); g != nil {
			mode, group = 0o2777, *g
		}
		return m.Host.Tmpfs(dir, m.memorySize(pod, v.EmptyDir), mode, group)
	}
	return fmt.Errorf("unknown storage medium %q", medium)
}

// memorySize bounds a memory volume by its own limit and by what the pod, or
// the node, may use.
func (m *Manager) memorySize(pod *corev1.Pod, v *corev1.EmptyDirVolumeSource) int64 {
	allocatable := m.Node().Allocatable
	size := allocatable.Memory().Value()
	limits, all := int64(0), true
	for i := range pod.Spec.Containers {
		limit := pod.Spec.Containers[i].Resources.Limits.Memory().Value()
		limits += limit
		all = all && limit > 0
	}
	if all && limits > 0 && (size == 0 || limits < size) {
		size = limits
	}
	if v.SizeLimit != nil && v.SizeLimit.Value() > 0 && (size == 0 || v.SizeLimit.Value() < size) {
		size = v.SizeLimit.Value()
	}
	return size
}

// Unmount takes everything of a pod off the node. It may be repeated.
func (m *Manager) Unmount(uid types.UID) error {
	if uid == "" {
		return errors.New("no pod's directory is named")
	}
	if err := m.Host.Remove(m.Root.Pod(uid)); err != nil {
		return fmt.Errorf("remove the files of pod %s: %w", uid, err)
	}
	return nil
}

// Path is where a volume is on the node, and whether it is only to be read.
func (m *Manager) Path(pod *corev1.Pod, name string) (path string, readOnly bool, err error) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Name != name {
			continue
		}
		switch {
		case v.ConfigMap != nil:
			return m.Root.Volume(pod.UID, "configmap", name), true, nil
		case v.Secret != nil:
			return m.Root.Volume(pod.UID, "secret", name), true, nil
		case v.DownwardAPI != nil:
			return m.Root.Volume(pod.UID, "downward-api", name), true, nil
		case v.Projected != nil:
			return m.Root.Volume(pod.UID, "projected", name), true, nil
		case v.HostPath != nil:
			return v.HostPath.Path, false, nil
		case v.EmptyDir != nil || noSource(v):
			return m.Root.Volume(pod.UID, "empty-dir", name), false, nil
		}
	}
	return "", false, fmt.Errorf("cannot find volume %q", name)
}
