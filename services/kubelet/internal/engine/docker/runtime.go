// Package docker runs pods on a Docker Engine, 20.10 (API 1.41) or newer. Its
// roles: translate*.go turn Kubernetes' terms into the engine's and back and
// do no I/O; calls.go makes the engine's calls and names their errors; the
// other files give the calls their meaning.
package docker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/network"
)

// DefaultPauseImage is made by the runtime itself when it is absent. Its tag
// grows when the program changes.
const DefaultPauseImage = "coracle/pause:1"

// Network connects sandboxes; network.Network is one.
type Network interface {
	Ready() error
	Attach(context.Context, network.Sandbox) ([]string, error)
	Detach(context.Context, network.Sandbox) error
	IPs(sandboxID string) []string
	Forget(sandboxID string)
	Collect(ctx context.Context, keep []string) error
}

// Config says which engine and how. Root and Network are required.
type Config struct {
	Log *zap.Logger
	// Endpoint is the engine's address, such as unix:///var/run/docker.sock.
	// Default: the environment's DOCKER_HOST, else the engine's own default.
	Endpoint string
	// Instance tells the pods of several kubelets on one engine apart. It has
	// to stay the same over restarts. Default "node".
	Instance string
	// Root is a folder for files that are mounted into pods. Kubelet and
	// engine must see it at the same path.
	Root    string
	Network Network
	// PauseImage is pulled when it is neither present nor DefaultPauseImage.
	PauseImage string
	// LogMaxSize and LogMaxFiles bound a container's logs, in the engine's
	// notation. Defaults "10m" and "5", the kubelet's.
	LogMaxSize, LogMaxFiles string
	Clock                   clock.Clock
}

// Runtime is an engine.Runtime on a Docker Engine. Beside its connection it
// keeps only caches of what cannot change.
type Runtime struct {
	cfg   Config
	calls calls
	log   *zap.Logger

	pods   keyedMutex // orders the calls about one pod's sandboxes
	grants grants

	mu     sync.Mutex
	host   *machine                    // as last asked
	ended  map[string]engine.Container // by ID: exited containers, as inspected
	images map[string]string           // by ID: what Container.ImageID shows
}

var _ engine.Runtime = (*Runtime)(nil)

// New prepares a Runtime; the engine need not answer yet.
func New(cfg Config) (*Runtime, error) {
	if !filepath.IsAbs(cfg.Root) || cfg.Network == nil {
		return nil, errors.New("docker: an absolute Root and a Network are required")
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Instance == "" {
		cfg.Instance = "node"
	}
	if cfg.PauseImage == "" {
		cfg.PauseImage = DefaultPauseImage
	}
	if cfg.LogMaxSize == "" {
		cfg.LogMaxSize = "10m"
	}
	if cfg.LogMaxFiles == "" {
		cfg.LogMaxFiles = "5"
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	// A pod's trace tells steps, not the engine's requests that a step is made of.
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation(), client.WithTraceProvider(noop.NewTracerProvider())}
	if cfg.Endpoint != "" {
		options = append(options, client.WithHost(cfg.Endpoint))
	}
	c, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, fmt.Errorf("connect to Docker Engine: %w", err)
	}
	return &Runtime{
		cfg:    cfg,
		calls:  calls{c},
		log:    cfg.Log,
		ended:  map[string]engine.Container{},
		images: map[string]string{},
	}, nil
}

// Close drops idle connections. Calls still under way are not ended by it.
func (r *Runtime) Close() error { return r.calls.api.Close() }

// Info describes the engine and its machine.
func (r *Runtime) Info(ctx context.Context) (engine.Info, error) {
	info, err := r.calls.info(ctx)
	if err != nil {
		return engine.Info{}, err
	}
	r.learn(info)
	out := translateInfo(info)
	out.APIVersion = r.calls.api.ClientVersion()
	out.NetworkReady = r.cfg.Network.Ready()
	return out, nil
}

// machine returns what translations need of the engine. It is asked once,
// and anew by each Info: answering takes an engine several processes.
func (r *Runtime) machine(ctx context.Context) (machine, error) {
	r.mu.Lock()
	known := r.host
	r.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	info, err := r.calls.info(ctx)
	if err != nil {
		return machine{}, err
	}
	return r.learn(info), nil
}

func (r *Runtime) learn(info system.Info) machine {
	m := machine{
		arch: goarch(info.Architecture), systemdCgroup: info.CgroupDriver == "systemd",
		instance: r.cfg.Instance, logSize: r.cfg.LogMaxSize, logFiles: r.cfg.LogMaxFiles,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.host = &m
	return m
}

// Prepare does once what the first pod would wait for, and releases the
// addresses of sandboxes that the engine lost while no kubelet looked, as
// after a reset of the engine. A kubelet calls it at its start, before any pod.
func (r *Runtime) Prepare(ctx context.Context) error {
	m, err := r.machine(ctx)
	if err != nil {
		return err
	}
	image, err := r.ensurePauseImage(ctx, m.arch)
	if err != nil {
		return err
	}
	if err := r.degrade(ctx, image, creation{host: &container.HostConfig{OomScoreAdj: sandboxOOMScore}}); err != nil {
		return fmt.Errorf("find out what the engine may grant: %w", err)
	}
	found, err := r.calls.list(ctx, r.selector(labelType, typeSandbox))
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	var keep []string
	for _, c := range found {
		keep = append(keep, c.ID)
	}
	return r.cfg.Network.Collect(ctx, keep)
}

// selector is the list filter of our containers with further labels, given as
// key and value in turn.
func (r *Runtime) selector(pairs ...string) []string {
	labels := []string{labelInstance + "=" + r.cfg.Instance}
	for i := 0; i+1 < len(pairs); i += 2 {
		labels = append(labels, pairs[i]+"="+pairs[i+1])
	}
	return labels
}

// keyedMutex is a mutex for each pod that somebody is waiting for.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[types.UID]*keyedLock
}

type keyedLock struct {
	sync.Mutex
	users int
}

// lock returns the unlock function.
func (k *keyedMutex) lock(uid types.UID) func() {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[types.UID]*keyedLock{}
	}
	l := k.locks[uid]
	if l == nil {
		l = &keyedLock{}
		k.locks[uid] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, uid)
		}
	}
}
