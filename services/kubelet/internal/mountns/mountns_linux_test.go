package mountns_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"coracle.local/services/kubelet/internal/mountns"
)

func TestTmpfs(t *testing.T) {
	for _, n := range []mountns.Namespace{"", "/proc/self/ns/mnt"} {
		t.Run(string(n), func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "volumes", "m")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			err := n.Tmpfs(dir, 1<<20, 0o2777, 2000)
			if errors.Is(err, unix.EPERM) {
				t.Skip("mounting is not permitted here")
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Tmpfs(dir, 1<<20, 0o2777, 2000); err != nil {
				t.Errorf("a second time: %v", err)
			}
			var s unix.Statfs_t
			if err := unix.Statfs(dir, &s); err != nil || s.Type != unix.TMPFS_MAGIC || uint64(s.Blocks)*uint64(s.Bsize) != 1<<20 {
				t.Errorf("got %+v, %v", s, err)
			}
			var info unix.Stat_t
			if err := unix.Stat(dir, &info); err != nil || info.Mode&0o7777 != 0o2777 || info.Gid != 2000 {
				t.Errorf("got %+v, %v", info, err)
			}
			if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := n.Remove(filepath.Join(root, "volumes")); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("still there: %v", err)
			}
		})
	}
}

func TestANamespaceThatIsNone(t *testing.T) {
	if err := mountns.Namespace("/nowhere").Do(func() error { return nil }); err == nil {
		t.Error("entered what does not exist")
	}
}
