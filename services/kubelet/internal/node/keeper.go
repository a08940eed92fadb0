// Package node keeps the kubelet's own Node object: registers it, renews its
// lease, and reports its status.
package node

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/events"
)

// Nodes are the API server's.
type Nodes interface {
	Get(ctx context.Context, namespace, name string) (*corev1.Node, error)
	Create(ctx context.Context, n *corev1.Node) (*corev1.Node, error)
	Patch(ctx context.Context, namespace, name string, pt types.PatchType, data []byte, subresource string) (*corev1.Node, error)
}

// Leases are the API server's.
type Leases interface {
	Get(ctx context.Context, namespace, name string) (*coordinationv1.Lease, error)
	Create(ctx context.Context, l *coordinationv1.Lease) (*coordinationv1.Lease, error)
	Update(ctx context.Context, l *coordinationv1.Lease) (*coordinationv1.Lease, error)
}

// Periods of reporting, upstream's.
const (
	// statusPeriod is how often the status is looked at, and written where it
	// has changed.
	statusPeriod = 10 * time.Second
	// reportPeriod is how often it is written even if it has not.
	reportPeriod = 5 * time.Minute
	// hurry is how often it is looked at until the node is ready.
	hurry = 500 * time.Millisecond
	// refreshPeriod is how often the Node is read where nobody tells of it.
	refreshPeriod = time.Minute
	// leaseDuration is how long a node lives on after its last sign of life.
	leaseDuration = 40 * time.Second
	leasePeriod   = leaseDuration / 4
)

// Config is what a Keeper needs.
type Config struct {
	Name       string
	Hostname   string
	Labels     map[string]string
	Taints     []corev1.Taint
	ProviderID string
	// Register: make the Node where there is none. Else wait for it.
	Register bool
	Nodes    Nodes
	Leases   Leases
	// Facts looks at the machine and its engine.
	Facts  func(ctx context.Context) Facts
	Events events.Recorder
	Clock  clock.Clock
	Log    *zap.Logger
	// Refresh: nobody calls Seen, so look at the Node now and then.
	Refresh bool
}

// Keeper keeps a Node.
type Keeper struct {
	cfg Config

	mu         sync.Mutex
	node       *corev1.Node
	reported   time.Time     // only Run's
	looked     time.Time     // only Run's
	now        chan struct{} // look at the status at once
	registered chan struct{}
}

// NewKeeper makes a keeper.
func NewKeeper(cfg Config) *Keeper {
	return &Keeper{cfg: cfg, now: make(chan struct{}, 1), registered: make(chan struct{})}
}

// Registered is closed when the API server has the Node.
func (k *Keeper) Registered() <-chan struct{} { return k.registered }

// Node is the newest state that was seen, nil before the first. It must not be
// modified.
func (k *Keeper) Node() *corev1.Node {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.node
}

// Seen tells of a newer state of the Node.
func (k *Keeper) Seen(n *corev1.Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.node = n
}

// Hurry has the status looked at at once, because something has changed.
func (k *Keeper) Hurry() {
	select {
	case k.now <- struct{}{}:
	default:
	}
}

// Run registers the node, and reports and renews until ctx is done.
func (k *Keeper) Run(ctx context.Context) error {
	var group sync.WaitGroup
	k.cfg.Events.Node(k.cfg.Name, "", corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	if !k.register(ctx) {
		return nil
	}
	group.Go(func() { k.renew(ctx) })
	k.reportAll(ctx)
	group.Wait()
	return nil
}

// pause waits; it reports false when ctx is done.
func (k *Keeper) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-k.cfg.Clock.After(d):
	case <-k.now:
	}
	return ctx.Err() == nil
}

// reportAll reports for as long as ctx lasts.
func (k *Keeper) reportAll(ctx context.Context) {
	for {
		ready, err := k.report(ctx)
		if err != nil && ctx.Err() == nil {
			k.cfg.Log.Warn("node status could not be reported", zap.Error(err))
		}
		wait := statusPeriod
		if !ready {
			wait = hurry
		}
		if !k.pause(ctx, wait) {
			return
		}
	}
}

// report writes the status if it has changed, or was not written for long.
func (k *Keeper) report(ctx context.Context) (ready bool, err error) {
	k.refresh(ctx)
	old := k.Node()
	fresh := Status(k.cfg.Facts(ctx), old.Status)
	ready = isReady(fresh)
	if !changed(old.Status, fresh) && k.cfg.Clock.Since(k.reported) < reportPeriod {
		return ready, nil
	}
	n, err := k.patch(ctx, old, fresh)
	if apierrors.IsNotFound(err) {
		// Deleted under our feet: a kubelet that lives has a Node.
		if n, err = k.tryRegister(ctx); err == nil {
			k.Seen(n)
		}
		return ready, err
	}
	if err != nil {
		if newer, getErr := k.cfg.Nodes.Get(ctx, "", k.cfg.Name); getErr == nil {
			k.Seen(newer)
		}
		return ready, err
	}
	k.reported = k.cfg.Clock.Now()
	k.announce(old, n)
	k.Seen(n)
	return ready, nil
}

// refresh looks at the Node where nobody tells of its changes: often until it
// has its pods' addresses, and seldom afterwards.
func (k *Keeper) refresh(ctx context.Context) {
	now := k.cfg.Clock.Now()
	if !k.cfg.Refresh || k.Node().Spec.PodCIDR != "" && now.Sub(k.looked) < refreshPeriod {
		return
	}
	if n, err := k.cfg.Nodes.Get(ctx, "", k.cfg.Name); err == nil {
		k.looked = now
		k.Seen(n)
	}
}

// changed compares statuses without the conditions' heartbeats.
func changed(a, b corev1.NodeStatus) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	for _, s := range []*corev1.NodeStatus{x, y} {
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return !equality.Semantic.DeepEqual(x, y)
}

func isReady(s corev1.NodeStatus) bool { return statusOf(s, corev1.NodeReady) == corev1.ConditionTrue }

func statusOf(s corev1.NodeStatus, t corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range s.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return ""
}
