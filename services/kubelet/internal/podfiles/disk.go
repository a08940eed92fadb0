// Package podfiles keeps what of a pod is on the node's disk: its volumes, its
// /etc/hosts, and where its containers leave their last words.
package podfiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/podspec"
	"coracle.local/services/kubelet/internal/volume"
)

// hostsPath is where containers look for names.
const hostsPath = "/etc/hosts"

// Disk keeps pods' files below the kubelet's root directory.
type Disk struct {
	Volumes       *volume.Manager
	ClusterDomain string
	// NodeHosts is the node's own hosts file, for pods on its network.
	NodeHosts string
}

// Mount puts a pod's volumes on the node or renders them again. It says when
// that must be repeated; zero for never.
func (d *Disk) Mount(ctx context.Context, pod *corev1.Pod, podIPs []string) (time.Time, error) {
	return d.Volumes.Mount(ctx, pod, podIPs)
}

// Container makes the files of one instance of a container and lists all that
// it is shown.
func (d *Disk) Container(pod *corev1.Pod, c *corev1.Container, attempt int, env []engine.KeyValue, podIPs []string) ([]engine.Mount, error) {
	mounts, err := d.Volumes.Mounts(pod, c, env)
	if err != nil {
		return nil, err
	}
	ownHosts := false
	for _, m := range mounts {
		ownHosts = ownHosts || m.ContainerPath == hostsPath
	}
	if !ownHosts && (len(podIPs) > 0 || pod.Spec.HostNetwork) {
		path, err := d.hosts(pod, podIPs)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, engine.Mount{HostPath: path, ContainerPath: hostsPath})
	}
	if at := c.TerminationMessagePath; at != "" {
		path, err := d.Volumes.Root.NewTermination(pod.UID, c.Name, attempt)
		if err != nil {
			return nil, err
		}
		if !filepath.IsAbs(at) {
			at = "/" + at
		}
		mounts = append(mounts, engine.Mount{HostPath: path, ContainerPath: at})
	}
	return mounts, nil
}

// hosts writes a pod's hosts file. It is written in place, because containers
// that run already have it mounted.
func (d *Disk) hosts(pod *corev1.Pod, podIPs []string) (string, error) {
	name, domain, err := podspec.Hostname(pod, d.ClusterDomain)
	if err != nil {
		return "", err
	}
	var node []byte
	if pod.Spec.HostNetwork {
		if node, err = os.ReadFile(d.NodeHosts); err != nil {
			return "", fmt.Errorf("read the node's hosts file: %w", err)
		}
	}
	path, content := d.Volumes.Root.Hosts(pod.UID), podspec.HostsFile(pod, podIPs, name, domain, node)
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, content) {
		return path, nil
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return "", fmt.Errorf("write the pod's hosts file: %w", err)
	}
	return path, os.Chmod(path, 0o644) // whatever the umask is
}

// Message returns the last words of a container's instance.
func (d *Disk) Message(uid types.UID, container string, attempt int) string {
	return d.Volumes.Root.ReadTermination(uid, container, attempt)
}

// File reads a file of one of a pod's volumes, without leaving the volume.
func (d *Disk) File(pod *corev1.Pod, name, path string) ([]byte, error) {
	dir, _, err := d.Volumes.Path(pod, name)
	if err != nil {
		return nil, fmt.Errorf("%w referenced by FileKeyRef", err)
	}
	var content []byte
	err = d.Volumes.Host.Do(func() error {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		defer func() { _ = root.Close() }()
		content, err = root.ReadFile(path)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("file %q does not exist in volume %q", path, name)
	}
	return content, err
}

// Remove takes everything of a pod off the disk.
func (d *Disk) Remove(uid types.UID) error { return d.Volumes.Unmount(uid) }

// Pods lists the pods that have files.
func (d *Disk) Pods() ([]types.UID, error) { return d.Volumes.Root.Pods() }
