package engine

import (
	"io"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Propagation says whether mounts made later cross between node and container.
type Propagation string

// The mount propagations.
const (
	PropagationPrivate         Propagation = ""
	PropagationHostToContainer Propagation = "HostToContainer"
	PropagationBidirectional   Propagation = "Bidirectional"
)

// Mount shows a path of the node in a container.
type Mount struct {
	HostPath, ContainerPath string
	ReadOnly                bool
	Propagation             Propagation
}

// Device is a device node of the host shown in a container.
type Device struct {
	HostPath, ContainerPath string
	Permissions             string // of r, w, m
}

// Resources are a container's limits; zero means none.
type Resources struct {
	CPUShares, CPUQuota, CPUPeriod int64 // quota and period in microseconds
	MemoryBytes                    int64
	PidsLimit                      int64
	OOMScoreAdj                    int
}

// SecurityContext is the effective security context of a container, the pod's
// part merged into it. A sandbox heeds the identity, SELinux and Seccomp.
type SecurityContext struct {
	Privileged bool
	AddCapabilities,
	DropCapabilities []string // without CAP_, or "ALL"
	RunAsUser          *int64
	RunAsUserName      string // when the image's USER is a name and RunAsUser nil
	RunAsGroup         *int64
	SupplementalGroups []int64 // fsGroup included
	ReadOnlyRootFS     bool
	NoNewPrivileges    bool
	Seccomp            Profile
	AppArmor           Profile
	SELinux            *SELinux
	// UnmaskedProc shows all of /proc and /sys (procMount: Unmasked).
	UnmaskedProc bool
}

// ProfileType says where a seccomp or AppArmor profile comes from.
type ProfileType string

// The types of a profile. The zero value leaves the choice to the engine.
const (
	ProfileRuntimeDefault ProfileType = "RuntimeDefault"
	ProfileUnconfined     ProfileType = "Unconfined"
	ProfileLocalhost      ProfileType = "Localhost"
)

// Profile is a seccomp or AppArmor profile. Localhost is a file's absolute
// path for seccomp, a loaded profile's name for AppArmor.
type Profile struct {
	Type      ProfileType
	Localhost string
}

// SELinux is a container's label.
type SELinux struct{ User, Role, Type, Level string }

// LogOptions selects what of a log is copied.
type LogOptions struct {
	Follow     bool
	Timestamps bool      // RFC3339Nano and a blank before each line
	Since      time.Time // zero: from the beginning
	Tail       int64     // last lines; negative: all
	LimitBytes int64     // zero: no limit
}

// ExecSpec is a command to run in a container. With TTY, stderr is unused:
// the terminal's output is all stdout.
type ExecSpec struct {
	Command []string
	TTY     bool
	Env     []KeyValue
}

// Streams connect a caller with a process. A nil stream is not connected.
// The end of Stdin closes the process's standard input. Resize may be nil.
// The callee does not close any of them, and a Stdin that blocks after the
// process ended may keep one read pending.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
}

// Size is a terminal's, in characters.
type Size struct{ Width, Height uint16 }

// Stats is one measurement of a container or sandbox. Counters grow from its
// start.
type Stats struct {
	Time                  time.Time
	CPUNanoseconds        uint64
	MemoryUsageBytes      uint64
	MemoryWorkingSetBytes uint64 // usage without the inactive file cache
	MemoryRSSBytes        uint64
	MemoryLimitBytes      uint64 // the machine's memory when there is no limit
	PageFaults            uint64
	MajorPageFaults       uint64
	Pids                  uint64
	Network               []NetworkStats // sandboxes only
}

// NetworkStats are the counters of one interface of a sandbox, as the pod
// sees them.
type NetworkStats struct {
	Name                       string
	RxBytes, RxErrors, RxDrops uint64
	TxBytes, TxErrors, TxDrops uint64
}

// Event says that something of a pod has changed.
type Event struct{ PodUID types.UID }
