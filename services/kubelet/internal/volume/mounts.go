package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/environ"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// Mounts says what a container is shown of its pod's volumes. env resolves
// subPathExpr.
func (m *Manager) Mounts(pod *corev1.Pod, c *corev1.Container, env []engine.KeyValue) ([]engine.Mount, error) {
	var out []engine.Mount
	for _, vm := range c.VolumeMounts {
		path, readOnly, err := m.Path(pod, vm.Name)
		if err != nil {
			return nil, fmt.Errorf("%w to mount into container %q", err, c.Name)
		}
		subPath, err := subPathOf(vm, env)
		if err != nil {
			return nil, err
		}
		if subPath != "" {
			err := m.Host.Do(func() (err error) {
				path, err = resolve(path, subPath)
				return err
			})
			if err != nil {
				// The details would tell a pod about the node's files.
				m.Log.Warn("sub path cannot be used", zap.String("pod", lifecycle.Format(pod)), zap.String("container", c.Name), zap.Error(err))
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q", vm.Name, c.Name)
			}
		}
		at := vm.MountPath
		if !filepath.IsAbs(at) {
			at = "/" + at
		}
		mount := engine.Mount{HostPath: path, ContainerPath: at, ReadOnly: readOnly || vm.ReadOnly}
		if p := vm.MountPropagation; p != nil && *p != corev1.MountPropagationNone {
			mount.Propagation = engine.Propagation(*p)
		}
		out = append(out, mount)
	}
	return out, nil
}

// subPathOf is a mount's sub path with its variables filled in.
func subPathOf(vm corev1.VolumeMount, env []engine.KeyValue) (string, error) {
	sub := vm.SubPath
	if vm.SubPathExpr != "" {
		values := make(map[string]string, len(env))
		for _, kv := range env {
			values[kv.Key] = kv.Value
		}
		var missing []string
		sub = environ.Expand(vm.SubPathExpr, func(name string) (string, bool) {
			v := values[name]
			if v == "" {
				missing = append(missing, name)
			}
			return v, true
		})
		if len(missing) > 0 {
			slices.Sort(missing)
			return "", fmt.Errorf("missing value for %s", strings.Join(slices.Compact(missing), ", "))
		}
	}
	if filepath.IsAbs(sub) {
		return "", fmt.Errorf("error SubPath `%s` must not be an absolute path", sub)
	}
	if slices.Contains(strings.Split(sub, "/"), "..") {
		return "", fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", sub)
	}
	return sub, nil
}

// resolve finds the real path of sub in a volume, and makes it a directory
// where it does not exist. Links that a pod left in its volume must not lead
// out of it.
func resolve(volume, sub string) (string, error) {
	base, err := filepath.EvalSymlinks(volume)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(base)
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	if _, err := root.Stat(sub); errors.Is(err, fs.ErrNotExist) {
		// A root refuses to follow links out of itself, also here.
		if err := root.MkdirAll(sub, info.Mode().Perm()); err != nil {
			return "", err
		}
		if err := root.Chmod(sub, info.Mode()&(fs.ModePerm|fs.ModeSetgid)); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	path, err := filepath.EvalSymlinks(filepath.Join(base, sub))
	if err != nil {
		return "", err
	}
	if path != base && !strings.HasPrefix(path, base+"/") {
		return "", fmt.Errorf("%s leads out of its volume", sub)
	}
	return path, nil
}
