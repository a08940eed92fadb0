// Package poddir knows where on the node the files of a pod are. The layout is
// upstream's, because log collectors and people know it.
package poddir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
)

// Root is the kubelet's root directory, /var/lib/kubelet.
type Root string

// Pod is everything of one pod.
func (r Root) Pod(uid types.UID) string { return filepath.Join(string(r), "pods", string(uid)) }

// Volume is one volume of a pod. kind is as in "configmap".
func (r Root) Volume(uid types.UID, kind, name string) string {
	return filepath.Join(r.Pod(uid), "volumes", "kubernetes.io~"+kind, name)
}

// Hosts is a pod's /etc/hosts.
func (r Root) Hosts(uid types.UID) string { return filepath.Join(r.Pod(uid), "etc-hosts") }

// Termination is where a container's instance leaves its last words.
func (r Root) Termination(uid types.UID, container string, attempt int) string {
	return filepath.Join(r.Pod(uid), "containers", container, strconv.Itoa(attempt))
}

// Seccomp is the folder of seccomp profiles.
func (r Root) Seccomp() string { return filepath.Join(string(r), "seccomp") }

// Pods lists the pods that have files.
func (r Root) Pods() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(string(r), "pods"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list pods' directories: %w", err)
	}
	var out []types.UID
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, types.UID(e.Name()))
		}
	}
	return out, nil
}

// Make makes a pod's directories.
func (r Root) Make(uid types.UID) error {
	for _, dir := range []string{"", "volumes", "plugins"} {
		if err := os.MkdirAll(filepath.Join(r.Pod(uid), dir), 0o750); err != nil {
			return fmt.Errorf("error making pod data directories: %w", err)
		}
	}
	return nil
}

// maxTermination bounds a termination message, in bytes.
const maxTermination = 4096

// NewTermination makes the file for a container's last words. Whoever the
// container runs as must be able to write it.
func (r Root) NewTermination(uid types.UID, container string, attempt int) (string, error) {
	path := r.Termination(uid, container, attempt)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("make the termination log's directory: %w", err)
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return "", fmt.Errorf("make the termination log: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // whatever the umask is
		return "", fmt.Errorf("open the termination log to the container: %w", err)
	}
	return path, nil
}

// ReadTermination returns a container's last words, their end where they are
// too many. A file that does not exist is empty.
func (r Root) ReadTermination(uid types.UID, container string, attempt int) string {
	b, err := readTail(r.Termination(uid, container, attempt), maxTermination)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("Error on reading termination log %s: %v", r.Termination(uid, container, attempt), err)
	}
	return string(b)
}

// readTail reads a file's last n bytes, and never more: the file is the
// container's.
func readTail(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	offset := max(0, info.Size()-n)
	b := make([]byte, min(n, info.Size()))
	read, err := f.ReadAt(b, offset)
	if read == len(b) {
		return b, nil
	}
	return b[:read], err
}
