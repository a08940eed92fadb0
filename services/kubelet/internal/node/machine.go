package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Machine is what a node's status says of the machine.
type Machine struct {
	MachineID, SystemUUID, BootID string
	// CPUs and Memory as the container engine sees them; the latter in bytes.
	CPUs      int
	Memory    int64
	HugePages map[corev1.ResourceName]resource.Quantity
	Storage   Storage
	// MemoryAvailable in bytes; negative when it cannot be told.
	MemoryAvailable int64
}

// Storage is the file system below the kubelet's root directory.
type Storage struct {
	Capacity, Available uint64 // bytes; zero capacity: there is none
	Inodes, InodesFree  uint64
}

// Local reads what there is to read of this machine. What cannot be read stays
// empty: a node without a machine ID is still a node.
func Local(root string) Machine {
	m := Machine{
		MachineID:  firstLine("/etc/machine-id", "/var/lib/dbus/machine-id"),
		SystemUUID: firstLine("/sys/class/dmi/id/product_uuid"),
		BootID:     firstLine("/proc/sys/kernel/random/boot_id"),
		HugePages:  hugePages("/sys/kernel/mm/hugepages"), MemoryAvailable: memoryAvailable("/proc/meminfo"),
	}
	if m.SystemUUID == "" {
		m.SystemUUID = m.MachineID
	}
	m.Storage = StorageOf(root)
	return m
}

// StorageOf measures the file system that holds a path.
func StorageOf(path string) Storage {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return Storage{}
	}
	block := uint64(s.Bsize)
	return Storage{Capacity: s.Blocks * block, Available: s.Bavail * block, Inodes: s.Files, InodesFree: s.Ffree}
}

func firstLine(paths ...string) string {
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil {
			line, _, _ := strings.Cut(string(b), "\n")
			if line = strings.TrimSpace(line); line != "" {
				return line
			}
		}
	}
	return ""
}

// hugePages reads the kernel's pools: a folder hugepages-2048kB for each size.
func hugePages(dir string) map[corev1.ResourceName]resource.Quantity {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	out := map[corev1.ResourceName]resource.Quantity{}
	for _, e := range entries {
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB"), 10, 64)
		if err != nil {
			continue
		}
		pages, err := strconv.ParseInt(firstLine(filepath.Join(dir, e.Name(), "nr_hugepages")), 10, 64)
		if err != nil {
			continue
		}
		size := resource.NewQuantity(kb<<10, resource.BinarySI)
		out[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size.String())] = *resource.NewQuantity(pages*kb<<10, resource.BinarySI)
	}
	return out
}

func memoryAvailable(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return -1
			}
			return kb << 10
		}
	}
	return -1
}

// Threshold is a limit below which a resource is short: an amount, or a
// percentage of what there is.
type Threshold struct {
	Amount  int64
	Percent float64
}

// below tells whether available is short of the threshold.
func (t Threshold) below(available, capacity uint64) bool {
	return float64(available) < t.of(capacity)
}

func (t Threshold) of(capacity uint64) float64 {
	if t.Percent > 0 {
		return float64(capacity) * t.Percent / 100
	}
	return float64(t.Amount)
}

// Eviction are upstream's signals that make a node report pressure.
type Eviction struct {
	MemoryAvailable, NodefsAvailable, NodefsInodesFree Threshold
}

// DefaultEviction is upstream's.
func DefaultEviction() Eviction {
	return Eviction{
		MemoryAvailable: Threshold{Amount: 100 << 20}, NodefsAvailable: Threshold{Percent: 10}, NodefsInodesFree: Threshold{Percent: 5},
	}
}

// ParseEviction reads upstream's --eviction-hard, such as
// "memory.available<100Mi,nodefs.available<10%". Signals that are not named are
// off; those that are known to upstream and not watched here are accepted.
func ParseEviction(s string) (Eviction, error) {
	var e Eviction
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		signal, value, ok := strings.Cut(part, "<")
		if !ok {
			return e, fmt.Errorf("eviction threshold %q is not of the form signal<value", part)
		}
		var t Threshold
		var err error
		if percent, ok := strings.CutSuffix(value, "%"); ok {
			t.Percent, err = strconv.ParseFloat(percent, 64)
		} else {
			var q resource.Quantity
			q, err = resource.ParseQuantity(value)
			t.Amount = q.Value()
		}
		if err != nil {
			return e, fmt.Errorf("eviction threshold %q: %w", part, err)
		}
		switch signal {
		case "memory.available":
			e.MemoryAvailable = t
		case "nodefs.available":
			e.NodefsAvailable = t
		case "nodefs.inodesFree":
			e.NodefsInodesFree = t
		case "imagefs.available", "imagefs.inodesFree", "containerfs.available", "containerfs.inodesFree", "pid.available", "allocatableMemory.available":
		default:
			return e, fmt.Errorf("unknown eviction signal %q", signal)
		}
	}
	return e, nil
}
