package program

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// unmapImage gives back the pages of the executable that are in memory. Nearly all
// of them were needed once, when every package was initialized, and few are again:
// those come back from the page cache when they are touched, and the kernel may drop
// the rest as it needs. See docs/decisions/017-start-up-is-given-back.md.
func unmapImage() error {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer func() { _ = smaps.Close() }()
	list, err := cleanMappings(bufio.NewScanner(smaps), path)
	if err != nil {
		return err
	}
	for _, m := range list {
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, syscall.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back %x-%x: %w", m.from, m.to, errno)
		}
	}
	return nil
}

type mapping struct{ from, to uintptr }

// cleanMappings reads, in the format of /proc/PID/smaps, which parts of the file at
// path are mapped as they are on disk: neither writable nor changed, as a linker's
// relocations or a debugger's breakpoints would have them.
func cleanMappings(smaps *bufio.Scanner, path string) (clean []mapping, err error) {
	var m mapping
	var ours bool
	for smaps.Scan() {
		line := smaps.Text()
		name, value, _ := strings.Cut(line, ":")
		switch {
		case strings.Contains(name, "-"):
			var mode string
			if _, err := fmt.Sscanf(line, "%x-%x %s", &m.from, &m.to, &mode); err != nil {
				return nil, fmt.Errorf("mapping %q: %w", line, err)
			}
			ours = strings.HasSuffix(line, " "+path) && !strings.Contains(mode, "w")
		case ours && name == "Anonymous" && strings.TrimSpace(value) == "0 kB":
			clean = append(clean, m)
		}
	}
	return clean, smaps.Err()
}
