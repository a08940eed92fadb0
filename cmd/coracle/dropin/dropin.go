// Package dropin lets this executable stand where upstream's stood: under the
// name kube-apiserver, kube-controller-manager, kube-scheduler or etcd it is that
// program, with its flags.
package dropin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Kubectl is the one program that is not in this executable: it is copied from
// where it is found.
const Kubectl = "kubectl"

// Install fills dir with the executables, as links to this one where the file
// system allows and else as copies. kubectl comes from beside this executable, or
// from PATH; ErrNoKubectl says that it was found in neither, and that the rest is
// there. What bears one of the names already is replaced.
func Install(dir string) error {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return fmt.Errorf("find this executable: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create %s: %w", dir, err)
	}
	for name := range roles {
		if err := place(self, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	kubectl := findKubectl(self)
	if kubectl == "" {
		return ErrNoKubectl
	}
	return place(kubectl, filepath.Join(dir, Kubectl))
}

// ErrNoKubectl is that everything but kubectl was installed.
var ErrNoKubectl = errors.New("no kubectl beside this executable or in PATH: install one there and try again")

func findKubectl(self string) string {
	beside := filepath.Join(filepath.Dir(self), Kubectl)
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
		return beside
	}
	path, err := exec.LookPath(Kubectl)
	if err != nil {
		return ""
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return ""
	}
	return path
}

// place makes target the same file as source, or a copy of it.
func place(source, target string) error {
	if same(source, target) {
		return nil
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace %s: %w", target, err)
	}
	if os.Link(source, target) == nil {
		return nil
	}
	if err := duplicate(source, target); err != nil {
		return fmt.Errorf("copy %s: %w", target, err)
	}
	return nil
}

func same(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

func duplicate(source, target string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
