package outbox_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	apiv1 "coracle.local/proto/coracle/api/v1"
	"coracle.local/services/scheduler/internal/harness"
	"coracle.local/services/scheduler/internal/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream is a bind stream whose other end is the test.
type stream struct {
	ctx     context.Context
	sent    chan *apiv1.BindRequest
	answers chan *apiv1.BindResult
}

func (s *stream) Send(r *apiv1.BindRequest) error {
	select {
	case s.sent <- r:
		return nil
	case <-s.ctx.Done():
		return io.EOF
	}
}

func (s *stream) Recv() (*apiv1.BindResult, error) {
	select {
	case r, ok := <-s.answers:
		if !ok {
			return nil, errors.New("broken")
		}
		return r, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

type rig struct {
	*outbox.Binder
	streams chan *stream
	// now is where pods are if somebody looks.
	now  string
	stop func()
}

func newRig(t *testing.T) *rig {
	r := &rig{streams: make(chan *stream)}
	open := func(ctx context.Context) (outbox.BindStream, error) {
		s := &stream{ctx: ctx, sent: make(chan *apiv1.BindRequest), answers: make(chan *apiv1.BindResult)}
		select {
		case r.streams <- s:
			return s, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.Binder = outbox.NewBinder(zap.NewNop(), open, func(context.Context, *corev1.Pod) (string, error) { return r.now, nil })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(r.stop)
	return r
}

func (r *rig) ask(name string) chan error {
	answer := make(chan error, 1)
	r.Bind(harness.NewPod(name), "node-of-"+name, func(err error) { answer <- err })
	return answer
}

func TestAnswersComeInAnyOrder(t *testing.T) {
	r := newRig(t)
	s := <-r.streams
	a, b := r.ask("a"), r.ask("b")
	first, second := <-s.sent, <-s.sent
	if first.GetName() != "a" || first.GetNode() != "node-of-a" || first.GetNamespace() != "default" {
		t.Errorf("request is %v", first)
	}
	s.answers <- &apiv1.BindResult{Uid: "unknown"}
	s.answers <- &apiv1.BindResult{Uid: second.GetUid(), Reason: "NotFound", Message: "gone"}
	if err := <-b; !apierrors.IsNotFound(err) || err.Error() != "gone" {
		t.Errorf("b: %v", err)
	}
	s.answers <- &apiv1.BindResult{Uid: first.GetUid()}
	if err := <-a; err != nil {
		t.Errorf("a: %v", err)
	}
}

func TestAsksAgainAfterABreak(t *testing.T) {
	tests := []struct {
		name, now string
		conflict  bool
	}{
		{"the first request was lost", "", false},
		{"the first request had its effect", "node-of-a", false},
		{"somebody else was faster", "another", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.now = tt.now
			s := <-r.streams
			answer := r.ask("a")
			<-s.sent
			close(s.answers)
			s = <-r.streams
			again := <-s.sent
			result := &apiv1.BindResult{Uid: again.GetUid()}
			if tt.now != "" {
				result.Reason = "Conflict"
			}
			s.answers <- result
			if err := <-answer; apierrors.IsConflict(err) != tt.conflict || (err != nil) != tt.conflict {
				t.Errorf("answer is %v", err)
			}
		})
	}
}

func TestEveryRequestIsAnsweredAtTheEnd(t *testing.T) {
	r := newRig(t)
	s := <-r.streams
	sent, unsent := r.ask("a"), r.ask("b")
	<-s.sent
	r.stop()
	for name, answer := range map[string]chan error{"sent": sent, "unsent": unsent, "late": r.ask("c")} {
		if err := <-answer; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
