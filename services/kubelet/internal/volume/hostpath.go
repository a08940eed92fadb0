package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// checkHostPath makes what the type lets it make, and refuses what is not of
// the type. It runs where the engine looks paths up.
func checkHostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	info, err := os.Stat(h.Path)
	if errors.Is(err, fs.ErrNotExist) {
		switch kind {
		case corev1.HostPathDirectoryOrCreate, corev1.HostPathUnset:
			// Engines make a missing path themselves, each with other rights.
			return os.MkdirAll(h.Path, 0o755)
		case corev1.HostPathFileOrCreate:
			return touch(h.Path)
		}
	}
	m := fs.FileMode(0)
	if err == nil {
		m = info.Mode()
	}
	failed := func(what string) error { return fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, what) }
	switch kind {
	case corev1.HostPathUnset:
		return err
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		if err != nil || !m.IsDir() {
			return failed("directory")
		}
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		if err != nil || !m.IsRegular() {
			return failed("file")
		}
	case corev1.HostPathSocket:
		if err != nil || m&fs.ModeSocket == 0 {
			return failed("socket file")
		}
	case corev1.HostPathCharDev:
		if err != nil || m&fs.ModeCharDevice == 0 {
			return failed("character device")
		}
	case corev1.HostPathBlockDev:
		if err != nil || m&fs.ModeDevice == 0 || m&fs.ModeCharDevice != 0 {
			return failed("block device")
		}
	default:
		return fmt.Errorf("%q is an invalid volume type", kind)
	}
	return nil
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// Bits that members of an fsGroup get.
const (
	writable = 0o660
	readable = 0o440
	enter    = 0o110
)

// ownership gives a tree to a group: every file gets the group and its bits,
// every directory makes new files inherit it. It is nil without a group.
func ownership(group *int64, readOnly bool) func(dir string) error {
	if group == nil {
		return nil
	}
	return func(dir string) error {
		return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if err := os.Lchown(path, -1, int(*group)); err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil || info.Mode()&fs.ModeSymlink != 0 {
				return err // changing a link's mode would change its target's
			}
			bits := fs.FileMode(writable)
			if readOnly {
				bits = readable
			}
			if info.IsDir() {
				bits |= fs.ModeSetgid | enter
			}
			return os.Chmod(path, info.Mode()|bits)
		})
	}
}
