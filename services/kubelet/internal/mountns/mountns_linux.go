package mountns

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Do runs f in the namespace. f must do all its work itself, not in other
// goroutines.
func (n Namespace) Do(f func() error) error {
	if n == "" {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		// Never unlocked: a thread that has changed its namespace must not
		// serve another goroutine, so it ends with this one.
		runtime.LockOSThread()
		done <- n.enter(f)
	}()
	return <-done
}

func (n Namespace) enter(f func() error) error {
	fd, err := unix.Open(string(n), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open mount namespace %s: %w", n, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// Threads share their root and working directory; the kernel demands that
	// this one has its own before it moves.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leave the shared working directory: %w", err)
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace %s: %w", n, err)
	}
	return f()
}

// Tmpfs mounts an empty memory file system at an existing directory, with the
// given mode, and group (negative: root's). size is in bytes, zero for the
// kernel's default. A directory that is a mount already is left alone.
func (n Namespace) Tmpfs(path string, size int64, mode os.FileMode, group int64) error {
	return n.Do(func() error {
		below, err := mountsBelow(path)
		if err != nil || len(below) > 0 && below[len(below)-1] == path {
			return err
		}
		options := fmt.Sprintf("mode=%o", mode)
		if size > 0 {
			options += fmt.Sprintf(",size=%d", size)
		}
		if group >= 0 {
			options += fmt.Sprintf(",gid=%d", group)
		}
		if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
			return fmt.Errorf("mount a tmpfs at %s: %w", path, err)
		}
		return nil
	})
}

// Remove unmounts everything at and below path, and removes path. It removes
// nothing while something is still mounted.
func (n Namespace) Remove(path string) error {
	return n.Do(func() error {
		below, err := mountsBelow(path)
		if err != nil {
			return err
		}
		for _, m := range below {
			if err := unix.Unmount(m, 0); err != nil {
				return fmt.Errorf("unmount %s: %w", m, err)
			}
		}
		return os.RemoveAll(path)
	})
}

// mountsBelow lists mount points at and below a path, the deepest first.
func mountsBelow(path string) ([]string, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer func() { _ = f.Close() }()
	var out []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		at := unescape(fields[4])
		if at == path || strings.HasPrefix(at, path+"/") {
			out = append([]string{at}, out...)
		}
	}
	return out, lines.Err()
}

// unescape undoes the kernel's octal escapes of blanks in paths.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
