// Package engine is the kubelet's view of a container engine: one interface,
// the values that cross it, and the few errors a caller acts upon.
//
// # Vocabulary
//
// A sandbox is what the containers of one pod share: a network namespace with
// an address, a host name, and where asked for the process and IPC
// namespaces. A container lives in exactly one sandbox. Both carry an attempt:
// the number of earlier ones of the same pod, or of the same name.
//
// # Life cycle
//
//	RunSandbox -> CreateContainer -> StartContainer -> StopContainer -> RemoveContainer
//	           -> StopSandbox -> RemoveSandbox
//
// The engine's own records are the only state. A Runtime that is thrown away
// and made again over the same engine answers Pods as before; so the kubelet
// adopts what runs when it restarts. Whatever an engine holds that was not
// made through this interface is never listed and never touched.
//
// # Calls
//
// All methods are safe for concurrent use. Stop and Remove of something
// absent is no error. Other calls about something absent fail with an error
// that wraps ErrNotFound.
package engine

import (
	"context"
	"errors"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Errors a caller tells apart with errors.Is. All others mean: report it, and
// try again later.
var (
	// ErrNotFound: the sandbox, container or image does not exist.
	ErrNotFound = errors.New("not found")
	// ErrNotRunning: exec, attach and port-forward need a running target.
	ErrNotRunning = errors.New("not running")
	// ErrInvalidImageName: the reference cannot be parsed; retrying is of no use.
	ErrInvalidImageName = errors.New("InvalidImageName")
	// ErrRegistryUnavailable: the registry could not be reached or is failing.
	ErrRegistryUnavailable = errors.New("RegistryUnavailable")
	// ErrUnauthorized: the registry wants other credentials; with the next
	// pull secret the same pull may succeed.
	ErrUnauthorized = errors.New("unauthorized")
)

// Runtime is what the kubelet needs of a container engine.
type Runtime interface {
	// Info describes the engine and the machine under it. It fails while the
	// engine does not answer, and so doubles as its health check.
	Info(ctx context.Context) (Info, error)

	// Pods returns every sandbox and container of ours, dead ones too,
	// grouped by pod and in no particular order.
	Pods(ctx context.Context) ([]Pod, error)
	// Pod returns the same for one pod. A pod without sandbox and containers
	// comes back empty, with only UID set; that is no error.
	Pod(ctx context.Context, uid types.UID) (Pod, error)

	// RunSandbox makes and starts a sandbox and connects it to the pod
	// network. It is idempotent by pod UID and attempt: a ready sandbox is
	// returned as it is, a half-made one is made anew.
	RunSandbox(ctx context.Context, spec SandboxSpec) (Sandbox, error)
	// StopSandbox ends every container in the sandbox without grace, takes it
	// off the network and stops it. It may be repeated until it succeeds.
	StopSandbox(ctx context.Context, id string) error
	// RemoveSandbox stops the sandbox and removes it and its containers.
	RemoveSandbox(ctx context.Context, id string) error

	// Image looks an image up by reference or ID and does not pull. The
	// boolean tells whether it is present.
	Image(ctx context.Context, ref string) (Image, bool, error)
	// Pull fetches an image. auth is nil for an anonymous pull. Failures wrap
	// ErrInvalidImageName, ErrRegistryUnavailable, ErrUnauthorized or
	// ErrNotFound where the engine tells that much.
	Pull(ctx context.Context, ref string, auth *Auth) (Image, error)
	// Images returns all images of the engine.
	Images(ctx context.Context) ([]Image, error)
	// RemoveImage removes an image and all its names.
	RemoveImage(ctx context.Context, id string) error

	// CreateContainer makes a container in a sandbox and does not start it.
	// A leftover of the same name and attempt that never ran is replaced.
	CreateContainer(ctx context.Context, sandboxID string, spec ContainerSpec) (id string, err error)
	StartContainer(ctx context.Context, id string) error
	// StopContainer sends the stop signal, and SIGKILL after the grace period
	// (whole seconds, rounded up). It returns when the container has ended.
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	// RemoveContainer removes a container, killing it if it runs.
	RemoveContainer(ctx context.Context, id string) error

	// Logs copies a container's output. A TTY's output is all stdout. With
	// Follow it returns when the container ends or ctx is done, both without
	// an error.
	Logs(ctx context.Context, id string, opts LogOptions, stdout, stderr io.Writer) error
	// Exec runs a command in a running container and returns its exit code;
	// err tells only that it could not be run or observed. When ctx ends the
	// command is killed where possible and ctx's error returned.
	Exec(ctx context.Context, id string, spec ExecSpec, streams Streams) (exitCode int, err error)
	// Attach connects to a running container's first process until that ends,
	// or ctx does.
	Attach(ctx context.Context, id string, tty bool, streams Streams) error
	// PortForward connects conn with a TCP port on the sandbox's loopback
	// address until either side closes.
	PortForward(ctx context.Context, sandboxID string, port int32, conn io.ReadWriter) error

	// Stats measures running containers and sandboxes by ID. What is absent
	// or not running is left out of the answer.
	Stats(ctx context.Context, ids ...string) (map[string]Stats, error)
	// Events tells which pods to look at again. It is a hint: the caller
	// lists once after Events has returned, and again when the channel was
	// closed, which happens when the connection is lost or ctx is done.
	Events(ctx context.Context) (<-chan Event, error)
}

// Info describes an engine and its machine.
type Info struct {
	Name            string // "docker", "hollow"
	Version         string
	APIVersion      string
	OSImage         string
	KernelVersion   string
	OperatingSystem string // GOOS
	Architecture    string // GOARCH
	CPUs            int
	MemoryBytes     int64
	CgroupVersion   string // "1", "2", or empty
	// NetworkReady is nil when pods can be connected, else says why not.
	NetworkReady error
}

// Pod is what an engine holds of one pod.
type Pod struct {
	UID             types.UID
	Namespace, Name string
	Sandboxes       []Sandbox   // newest first
	Containers      []Container // newest first
}

// Sandbox is one sandbox as it is now.
type Sandbox struct {
	ID          string
	Attempt     int
	Ready       bool // running, and on the network
	HostNetwork bool
	IPs         []string // of the pod network, the primary first; empty with HostNetwork
	CreatedAt   time.Time
	Labels      map[string]string
	Annotations map[string]string
}

// State is where a container is in its life.
type State string

// The states of a container.
const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
)

// Reasons an exited container carries, in Kubernetes' words.
const (
	ReasonCompleted = "Completed"          // exit code 0
	ReasonError     = "Error"              // any other exit code
	ReasonOOMKilled = "OOMKilled"          // killed for want of memory
	ReasonCannotRun = "ContainerCannotRun" // the command could not be started
)

// Container is one container as it is now. Times that have not come are zero.
type Container struct {
	ID, SandboxID, Name              string
	Attempt                          int
	Image                            string // the name it was asked for by
	ImageID                          string // what runs: a repository digest where there is one, else the ID
	State                            State
	CreatedAt, StartedAt, FinishedAt time.Time
	ExitCode                         int
	Reason, Message                  string // when exited
	SpecHash                         string // as given at creation
	Labels, Annotations              map[string]string
	LogPath                          string
}

// Image is an image present in the engine.
type Image struct {
	ID          string // names exactly this image in CreateContainer
	RepoTags    []string
	RepoDigests []string
	Size        int64
	User        string // the image's USER: "", "65532", "nobody", "1000:1000"
	Pinned      bool   // the engine needs it itself: not to be collected
}

// Auth are a registry's credentials: a user and password, or a token.
type Auth struct {
	Username, Password string
	ServerAddress      string
	IdentityToken      string
	RegistryToken      string
}

// SandboxSpec describes a sandbox to be.
type SandboxSpec struct {
	PodUID          types.UID
	Namespace, Name string
	Attempt         int
	Hostname        string
	HostNetwork     bool
	HostPID         bool
	HostIPC         bool
	// ShareProcessNamespace: containers join the sandbox's PID namespace.
	ShareProcessNamespace bool
	PortMappings          []PortMapping
	// DNS becomes the pod's /etc/resolv.conf. With nil the engine decides.
	DNS     *DNSConfig
	Sysctls map[string]string
	// CgroupParent is a cgroupfs path such as /kubepods/burstable/pod1234;
	// the runtime renders it for the engine's cgroup driver. Empty leaves the
	// engine's default.
	CgroupParent        string
	Labels, Annotations map[string]string
	Security            SecurityContext
}

// PortMapping publishes a pod's port on the node.
type PortMapping struct {
	HostIP        string // empty: all addresses
	HostPort      int32
	ContainerPort int32
	Protocol      string // "TCP", "UDP", "SCTP"
}

// DNSConfig is the content of a resolv.conf.
type DNSConfig struct {
	Servers, Searches, Options []string
}

// ContainerSpec describes a container to be. The pod's own files (/etc/hosts,
// the termination message, volumes) all come as Mounts of files on the node,
// at paths which kubelet and engine see alike.
type ContainerSpec struct {
	PodUID                  types.UID
	PodNamespace, PodName   string
	Name                    string
	Attempt                 int
	Image                   string // an Image.ID, resolved before
	ImageName               string // as written in the pod, for display
	Command, Args           []string
	WorkingDir              string
	Env                     []KeyValue
	Mounts                  []Mount
	Devices                 []Device
	Resources               Resources
	Security                SecurityContext
	Stdin, StdinOnce, TTY   bool
	StopSignal              string // empty: the image's
	HostPID, ShareProcessNS bool   // as the sandbox has them
	HostNetwork             bool   // as the sandbox has it
	CgroupParent            string
	Labels, Annotations     map[string]string
	SpecHash                string
	// LogPath, when not empty, is made to lead to the engine's log file while
	// the container exists, for log collectors.
	LogPath string
}

// KeyValue is one environment variable.
type KeyValue struct{ Key, Value string }
