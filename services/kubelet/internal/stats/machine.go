package stats

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"coracle.local/services/kubelet/internal/node"
)

// ticksPerSecond is the unit of /proc/stat on every Linux there is.
const ticksPerSecond = 100

// Local measures the machine the kubelet runs on.
func Local(root string) (Machine, error) {
	m := Machine{Storage: node.StorageOf(root)}
	return m, errors.Join(m.processors("/proc/stat"), m.memory("/proc/meminfo"))
}

// processors reads the time all processors were busy, and the boot time.
func (m *Machine) processors(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 9 && f[0] == "cpu":
			var busy uint64
			for i, v := range f[1:9] {
				n, err := strconv.ParseUint(v, 10, 64)
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				if i != 3 && i != 4 { // idle, and waiting for a disk
					busy += n
				}
			}
			m.CPUNanoseconds = busy * (uint64(time.Second) / ticksPerSecond)
		case len(f) == 2 && f[0] == "btime":
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			m.Started = time.Unix(n, 0)
		}
	}
	return nil
}

func (m *Machine) memory(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fields := map[string]*uint64{"MemTotal:": &m.MemoryTotal, "MemAvailable:": &m.MemoryFree, "AnonPages:": &m.MemoryRSS}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || fields[f[0]] == nil {
			continue
		}
		kb, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		*fields[f[0]] = kb << 10
	}
	return nil
}
