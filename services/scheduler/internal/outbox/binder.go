package outbox

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "coracle.local/proto/coracle/api/v1"
)

// BindStream is an open stream of placements, as client.Conn.Bind returns it.
type BindStream interface {
	Send(*apiv1.BindRequest) error
	Recv() (*apiv1.BindResult, error)
}

// Binder sends placements over one stream and hands out the answers, which
// come in any order. When the stream breaks it opens another and asks again for
// whatever was not answered.
type Binder struct {
	log *zap.Logger
	// open opens a stream that lasts as long as its context.
	open func(context.Context) (BindStream, error)
	// nodeOf reads where a pod is now, from the API server itself.
	nodeOf func(ctx context.Context, p *corev1.Pod) (string, error)

	mu sync.Mutex
	// unanswered are all requests without an answer, by the pod's UID; unsent
	// are those of them that the present stream has not carried, in order.
	unanswered map[string]*placement
	unsent     []*placement
	ended      bool
	wake       chan struct{}
}

type placement struct {
	pod  *corev1.Pod
	node string
	done func(error)
	// sent counts the streams that carried the request. An answer to a request
	// that went out twice may be about its own first effect.
	sent int
}

// NewBinder makes a binder; Run makes it work.
func NewBinder(log *zap.Logger, open func(context.Context) (BindStream, error),
	nodeOf func(context.Context, *corev1.Pod) (string, error),
) *Binder {
	return &Binder{log: log, open: open, nodeOf: nodeOf, unanswered: map[string]*placement{}, wake: make(chan struct{}, 1)}
}

// Bind asks for a placement; done is called once with the answer.
func (b *Binder) Bind(p *corev1.Pod, node string, done func(error)) {
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		done(context.Canceled)
		return
	}
	r := &placement{pod: p, node: node, done: done}
	before := b.unanswered[string(p.UID)]
	b.unanswered[string(p.UID)] = r
	b.unsent = append(b.unsent, r)
	b.mu.Unlock()
	if before != nil {
		before.done(fmt.Errorf("replaced by a placement on %s", node))
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run keeps a stream open until ctx ends. Then whoever waits for an answer is
// told that there will be none.
func (b *Binder) Run(ctx context.Context) error {
	defer b.end()
	wait := 50 * time.Millisecond
	for ctx.Err() == nil {
		opened := time.Now()
		err := b.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		b.log.Warn("bind stream broke and is opened again", zap.Error(err))
		if time.Since(opened) > 10*time.Second {
			wait = 50 * time.Millisecond
		}
		sleep(ctx, wait)
		wait = min(2*wait, 2*time.Second)
	}
	return nil
}

// session uses one stream until it breaks.
func (b *Binder) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := b.open(ctx)
	if err != nil {
		return fmt.Errorf("open the bind stream: %w", err)
	}
	b.restart()
	received := make(chan error, 1)
	go func() {
		defer cancel()
		received <- b.receive(ctx, stream)
	}()
	err = b.send(ctx, stream)
	cancel()
	if failed := <-received; failed != nil {
		err = failed
	}
	return err
}

// restart makes everything unsent that has no answer.
func (b *Binder) restart() {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting := make(map[*placement]bool, len(b.unsent))
	for _, r := range b.unsent {
		waiting[r] = true
	}
	for _, r := range b.unanswered {
		if !waiting[r] {
			b.unsent = append(b.unsent, r)
		}
	}
}

func (b *Binder) send(ctx context.Context, stream BindStream) error {
	for {
		b.mu.Lock()
		batch := b.unsent
		b.unsent = nil
		for _, r := range batch {
			r.sent++
		}
		b.mu.Unlock()
		for _, r := range batch {
			if err := stream.Send(&apiv1.BindRequest{
				Namespace: r.pod.Namespace, Name: r.pod.Name,
				Uid: string(r.pod.UID), Node: r.node,
			}); err != nil {
				return fmt.Errorf("send a placement: %w", err)
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-b.wake:
		}
	}
}

func (b *Binder) receive(ctx context.Context, stream BindStream) error {
	for {
		result, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive an answer: %w", err)
		}
		b.mu.Lock()
		r := b.unanswered[result.GetUid()]
		delete(b.unanswered, result.GetUid())
		b.mu.Unlock()
		if r == nil {
			continue
		}
		r.done(b.judge(ctx, r, answer(result)))
	}
}

// judge looks twice at the answer to a request that was repeated: what stands
// in its way may be its own first effect.
func (b *Binder) judge(ctx context.Context, r *placement, err error) error {
	if err == nil || r.sent < 2 || !apierrors.IsConflict(err) {
		return err
	}
	if node, getErr := b.nodeOf(ctx, r.pod); getErr == nil && node == r.node {
		return nil
	}
	return err
}

// answer makes an error of a result.
func answer(r *apiv1.BindResult) error {
	if r.GetReason() == "" {
		return nil
	}
	status := metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReason(r.GetReason()), Message: r.GetMessage()}
	switch status.Reason {
	case metav1.StatusReasonConflict, metav1.StatusReasonAlreadyExists:
		status.Code = http.StatusConflict
	case metav1.StatusReasonNotFound:
		status.Code = http.StatusNotFound
	case metav1.StatusReasonForbidden:
		status.Code = http.StatusForbidden
	}
	return &apierrors.StatusError{ErrStatus: status}
}

func (b *Binder) end() {
	b.mu.Lock()
	b.ended = true
	rest := b.unanswered
	b.unanswered, b.unsent = map[string]*placement{}, nil
	b.mu.Unlock()
	for _, r := range rest {
		r.done(context.Canceled)
	}
}
