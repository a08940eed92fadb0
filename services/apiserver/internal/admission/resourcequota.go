package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
	"coracle.local/libs/quota"
	"coracle.local/services/apiserver/internal/auth"
)

// ChargeQuota stores a quota's new status if the quota has not changed since
// it was read, and fails with Conflict if it has.
type ChargeQuota func(ctx context.Context, q *corev1.ResourceQuota) error

const (
	// chargeTries is how often a charge begins anew after the quota changed
	// under it, which only another writer than this server can do.
	chargeTries = 8
	chargeFor   = 10 * time.Second
)

// resourceQuota charges the quotas of a namespace for what is about to be
// written there, and refuses what exceeds them. The writes to a namespace that
// has quotas are taken in turns; those that wait are charged together, so that
// a burst of pods costs a few writes of the quota and not one each.
type resourceQuota struct {
	lookup  lookup
	charge  ChargeQuota
	limited []quota.Limited
	clock   clock.PassiveClock

	mu     sync.Mutex
	spaces map[string]*space
}

// space is a namespace that somebody is charging; who comes meanwhile waits
// for the next turn.
type space struct{ waiting []*bill }

// bill is one write that is to be charged.
type bill struct {
	evaluator *quota.Evaluator
	change    quota.Change
	dryRun    bool

	done    chan struct{} // closed when err says the outcome
	turn    chan struct{} // closed when its owner is to charge all that wait
	err     error
	settled bool
}

func (b *bill) settle(err error) { b.err, b.settled = err, true }

func newResourceQuota(c Config) *resourceQuota {
	return &resourceQuota{lookup: c.lookup(), charge: c.ChargeQuota, limited: c.settings.limited, clock: c.Clock, spaces: map[string]*space{}}
}

func (p *resourceQuota) Validate(ctx context.Context, a *Attributes) error {
	if a.Operation != Create && a.Operation != Update || a.Namespace == "" || a.Object == nil || a.on("", "namespaces") {
		return nil
	}
	if len(p.limited) == 0 && len(p.lookup.reader.List(kinds.For[*corev1.ResourceQuota](), a.Namespace)) == 0 {
		return nil
	}
	e := quota.For(a.Kind.GroupResource())
	if e == nil {
		return nil
	}
	change := quota.Change{Subresource: a.Subresource, Object: a.Object}
	if a.Old != nil {
		change.Old = a.Old
	}
	if !e.Charged(change, p.world()) {
		return nil
	}
	b := &bill{evaluator: e, change: change, dryRun: a.DryRun, done: make(chan struct{}), turn: make(chan struct{})}
	return p.word(a, p.pay(ctx, a.Namespace, b))
}

// word puts a refusal in the form of upstream's.
func (p *resourceQuota) word(a *Attributes, err error) error {
	var uncovered quota.Uncovered
	switch {
	case err == nil:
		return nil
	case apierrors.ReasonForError(err) != "":
		return err
	case errors.As(err, &uncovered):
		return ordinary(err)
	}
	return forbidden(a, err)
}

// pay waits for the bill's turn, or for somebody to pay it along with theirs.
func (p *resourceQuota) pay(ctx context.Context, namespace string, b *bill) error {
	p.mu.Lock()
	if s := p.spaces[namespace]; s != nil {
		s.waiting = append(s.waiting, b)
		p.mu.Unlock()
		select {
		case <-b.done:
			return b.err
		case <-b.turn:
		}
	} else {
		p.spaces[namespace] = &space{waiting: []*bill{b}}
		p.mu.Unlock()
	}
	p.settle(ctx, namespace)
	return b.err
}

// settle charges all that wait, and hands the turn to one of those who came
// meanwhile.
func (p *resourceQuota) settle(ctx context.Context, namespace string) {
	p.mu.Lock()
	s := p.spaces[namespace]
	bills := s.waiting
	s.waiting = nil
	p.mu.Unlock()
	// Whatever happens, nobody is left waiting.
	defer p.pass(namespace, s, bills)

	// Others depend on it, so it must not end with the request of one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), chargeFor)
	defer cancel()
	p.settleAll(ctx, namespace, bills)
}

func (p *resourceQuota) pass(namespace string, s *space, bills []*bill) {
	for _, b := range bills {
		if !b.settled {
			b.settle(apierrors.NewInternalError(errors.New("resource quota evaluation failed")))
		}
		close(b.done)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(s.waiting) > 0 {
		close(s.waiting[0].turn)
		return
	}
	delete(p.spaces, namespace)
}

func (p *resourceQuota) settleAll(ctx context.Context, namespace string, bills []*bill) {
	quotas := auth.List[*corev1.ResourceQuota](p.lookup.reader, namespace)
	for try := 1; ; try++ {
		charged := p.assess(quotas, bills)
		failed, err := p.store(ctx, quotas, charged)
		if len(failed) > 0 && try < chargeTries && apierrors.IsConflict(err) {
			// What the other quotas were charged stays charged: only those
			// that changed are assessed anew.
			if quotas, err = p.reread(ctx, failed); err == nil {
				continue
			}
		}
		for _, b := range bills {
			if !b.settled {
				b.settle(err)
			}
		}
		return
	}
}

// assess holds the bills against the quotas, one after the other, and settles
// those that are refused or cost nothing.
func (p *resourceQuota) assess(quotas []*corev1.ResourceQuota, bills []*bill) []*corev1.ResourceQuota {
	w := p.world()
	for _, b := range bills {
		if b.settled {
			continue
		}
		after, err := b.evaluator.Charge(quotas, b.change, w, p.limited)
		switch {
		case err != nil, b.dryRun, same(quotas, after):
			b.settle(err)
		default:
			quotas = after
		}
	}
	return quotas
}

func same(a, b []*corev1.ResourceQuota) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// store writes the quotas that were charged, and returns those that it could
// not write.
func (p *resourceQuota) store(ctx context.Context, quotas, charged []*corev1.ResourceQuota) (failed []*corev1.ResourceQuota, err error) {
	for i := range charged {
		if charged[i] == quotas[i] {
			continue
		}
		if failure := p.charge(ctx, charged[i]); failure != nil {
			failed, err = append(failed, charged[i]), failure
		}
	}
	return failed, err
}

// reread reads quotas as they are stored; those that were deleted no longer
// limit anything.
func (p *resourceQuota) reread(ctx context.Context, quotas []*corev1.ResourceQuota) ([]*corev1.ResourceQuota, error) {
	var out []*corev1.ResourceQuota
	for _, q := range quotas {
		now, err := findLive[*corev1.ResourceQuota](ctx, p.lookup, q.Namespace, q.Name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read quota %s/%s: %w", q.Namespace, q.Name, err)
		}
		out = append(out, now)
	}
	return out, nil
}

func (p *resourceQuota) world() quota.World {
	return quota.World{
		Now:           p.clock.Now(),
		DeviceClasses: func() []*resourcev1.DeviceClass { return auth.List[*resourcev1.DeviceClass](p.lookup.reader, "") },
		Pod: func(namespace, name string) *corev1.Pod {
			pod, _ := auth.Get[*corev1.Pod](p.lookup.reader, namespace, name)
			return pod
		},
		ResourceClaims: func(namespace string) []*resourcev1.ResourceClaim {
			return auth.List[*resourcev1.ResourceClaim](p.lookup.reader, namespace)
		},
	}
}
