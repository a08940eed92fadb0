package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// File is one file of a rendered volume.
type File struct {
	Data []byte
	Mode os.FileMode
	// User owns the file; nil is root.
	User *int64
}

// Names in a rendered volume. Readers follow name -> ..data/name, so that
// turning the one link ..data changes all files at once.
const (
	dataLink    = "..data"
	newDataLink = "..data_tmp"
)

// write replaces the content of a volume's directory by files, atomically for
// its readers. It does nothing when the content is the same already. own, when
// not nil, adjusts ownership of the new content before it can be seen.
func write(dir string, files map[string]File, now time.Time, own func(dir string) error) error {
	for name := range files {
		if err := validName(name); err != nil {
			return err
		}
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old != "" && same(filepath.Join(dir, old), files) {
		return nil
	}
	fresh, err := os.MkdirTemp(dir, now.UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return err
	}
	if err := fill(fresh, files); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if own != nil {
		if err := own(fresh); err != nil {
			return errors.Join(err, os.RemoveAll(fresh))
		}
	}
	if err := turn(dir, filepath.Base(fresh)); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := relink(dir, files); err != nil {
		return err
	}
	if old != "" {
		return os.RemoveAll(filepath.Join(dir, old))
	}
	return nil
}

// validName refuses what would leave the directory or look like our own.
func validName(name string) error {
	if name == "" || filepath.IsAbs(name) {
		return fmt.Errorf("invalid path %q: must not be absolute or empty", name)
	}
	for i, part := range strings.Split(name, "/") {
		if part == ".." || i == 0 && strings.HasPrefix(part, "..") {
			return fmt.Errorf("invalid path %q: must not contain or start with '..'", name)
		}
	}
	return nil
}

// same tells whether a directory holds exactly these files.
func same(dir string, files map[string]File) bool {
	count := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		want, ok := files[filepath.ToSlash(name)]
		if !ok {
			return errDiffers
		}
		have, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		// The group's bits may have been widened for an fsGroup.
		if err != nil || string(have) != string(want.Data) || info.Mode().Perm()&^0o070 != want.Mode.Perm()&^0o070 {
			return errors.Join(errDiffers, err)
		}
		count++
		return nil
	})
	return err == nil && count == len(files)
}

var errDiffers = errors.New("differs")

func fill(dir string, files map[string]File) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for name, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, f.Mode); err != nil {
			return err
		}
		if err := os.Chmod(path, f.Mode); err != nil { // whatever the umask is
			return err
		}
		if f.User != nil {
			if err := os.Chown(path, int(*f.User), -1); err != nil {
				return err
			}
		}
	}
	return nil
}

// turn makes ..data lead to target in one step.
func turn(dir, target string) error {
	next := filepath.Join(dir, newDataLink)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, dataLink))
}

// relink keeps one link per first part of the files' names.
func relink(dir string, files map[string]File) error {
	want := map[string]bool{}
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		want[top] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, "..") {
			if !want[name] {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					return err
				}
			}
			delete(want, name)
		}
	}
	tops := make([]string, 0, len(want))
	for name := range want {
		tops = append(tops, name)
	}
	sort.Strings(tops)
	for _, name := range tops {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
