package dangling

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

// store keeps schemas, and tells the controller of what is written.
type store struct {
	mu      sync.Mutex
	c       *Controller
	schemas map[string]*flowcontrolv1.FlowSchema
	writes  int
	fail    int
}

func (s *store) write(_ context.Context, name string, change func(*flowcontrolv1.FlowSchema)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		return errors.New("no")
	}
	next := s.schemas[name].DeepCopy()
	change(next)
	s.writes++
	s.schemas[name] = next
	s.c.Observe(auth.Change{Kind: kinds.For[*flowcontrolv1.FlowSchema](), Name: name, Object: func() kinds.Object { return next }})
	return nil
}

func (s *store) put(name, level string) {
	fs := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name}}
	fs.Spec.PriorityLevelConfiguration.Name = level
	s.mu.Lock()
	s.schemas[name] = fs
	s.mu.Unlock()
	s.c.Observe(auth.Change{Kind: kinds.For[*flowcontrolv1.FlowSchema](), Name: name, Object: func() kinds.Object { return fs }})
}

func (s *store) level(name string, there bool) {
	change := auth.Change{Kind: kinds.For[*flowcontrolv1.PriorityLevelConfiguration](), Name: name}
	if there {
		change.Object = func() kinds.Object { return &flowcontrolv1.PriorityLevelConfiguration{} }
	}
	s.c.Observe(change)
}

// A schema says what has become of its level, and is written no oftener than that
// changes.
func TestController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{schemas: map[string]*flowcontrolv1.FlowSchema{}, fail: 2}
		s.c = New(s.write, zaptest.NewLogger(t))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.c.Run(ctx) }()
		expect := func(step, name string, status flowcontrolv1.ConditionStatus, writes int) {
			t.Helper()
			time.Sleep(time.Minute) // of the bubble's time: all retries are over
			synctest.Wait()
			conditions := s.schemas[name].Status.Conditions
			if len(conditions) != 1 || conditions[0].Status != status || s.writes != writes {
				t.Errorf("%s: %v after %d writes, want %s after %d", step, conditions, s.writes, status, writes)
			}
			if m := s.schemas[name].ManagedFields; len(m) != 1 || m[0].Manager != Manager {
				t.Errorf("%s: managed by %v", step, m)
			}
		}
		s.level("here", true)
		s.put("one", "here")
		expect("level is there", "one", flowcontrolv1.ConditionFalse, 1)
		s.put("two", "absent")
		expect("level is missing", "two", flowcontrolv1.ConditionTrue, 2)
		s.level("absent", true)
		expect("level comes", "two", flowcontrolv1.ConditionFalse, 3)
		s.level("absent", true)
		expect("level changes", "two", flowcontrolv1.ConditionFalse, 3)
		s.level("here", false)
		expect("level goes", "one", flowcontrolv1.ConditionTrue, 4)
		s.c.Observe(auth.Change{Kind: kinds.For[*flowcontrolv1.FlowSchema](), Name: "one"})
		s.level("here", true)
		expect("schema went", "one", flowcontrolv1.ConditionTrue, 4)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
