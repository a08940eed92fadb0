package report_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/report"
)

// server has one pod and applies patches as the API server does.
type server struct {
	mu      sync.Mutex
	pod     *corev1.Pod
	patches int
	fail    error
}

func (s *server) Get(context.Context, string, string) (*corev1.Pod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pod.DeepCopy(), nil
}

func (s *server) Patch(_ context.Context, _, name string, _ types.PatchType, data []byte, subresource string) (*corev1.Pod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patches++
	switch {
	case s.fail != nil:
		return nil, s.fail
	case s.pod == nil:
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	case subresource != "status":
		return nil, errors.New("not the status")
	}
	var sent corev1.Pod
	if err := json.Unmarshal(data, &sent); err != nil {
		return nil, err
	}
	if sent.UID != s.pod.UID {
		return nil, apierrors.NewConflict(corev1.Resource("pods"), name, errors.New("another UID"))
	}
	before, err := json.Marshal(s.pod)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, data, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	out := &corev1.Pod{}
	if err := json.Unmarshal(after, out); err != nil {
		return nil, err
	}
	s.store(out)
	return out.DeepCopy(), nil
}

func (s *server) store(pod *corev1.Pod) {
	n, _ := strconv.Atoi(s.pod.ResourceVersion)
	pod.ResourceVersion = strconv.Itoa(n + 1)
	s.pod = pod
}

func (s *server) Delete(_ context.Context, _, name string, o metav1.DeleteOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.pod == nil:
		return apierrors.NewNotFound(corev1.Resource("pods"), name)
	case *o.Preconditions.UID != s.pod.UID || *o.GracePeriodSeconds != 0:
		return apierrors.NewConflict(corev1.Resource("pods"), name, errors.New("another UID"))
	}
	s.pod = nil
	return nil
}

func newPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u", ResourceVersion: "1"},
		Status: corev1.PodStatus{Phase: corev1.PodPending, NominatedNodeName: "n", Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: "example.com/x", Status: corev1.ConditionTrue},
		}},
	}
}

func status(phase corev1.PodPhase, ips ...string) corev1.PodStatus {
	s := corev1.PodStatus{Phase: phase, Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionFalse},
	}}
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
	return s
}

func run(t *testing.T, s *server, f func(w *report.Writer)) {
	synctest.Test(t, func(t *testing.T) {
		w := report.New(s, clock.RealClock{}, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _ = w.Run(ctx) })
		synctest.Wait()
		f(w)
		cancel()
		group.Wait()
	})
}

func TestOthersAreLeftAlone(t *testing.T) {
	s := &server{pod: newPod()}
	run(t, s, func(w *report.Writer) {
		pod := s.pod
		w.Set(pod, status(corev1.PodRunning, "10.0.0.1"))
		synctest.Wait()
		if got := s.pod.Status; got.Phase != corev1.PodRunning || got.NominatedNodeName != "n" || len(got.Conditions) != 3 || got.PodIPs[0].IP != "10.0.0.1" {
			t.Errorf("got %+v", got)
		}
		w.Set(pod, status(corev1.PodRunning, "10.0.0.2"))
		synctest.Wait()
		if got := s.pod.Status.PodIPs; len(got) != 1 || got[0].IP != "10.0.0.2" {
			t.Errorf("addresses are %v", got)
		}
		patches := s.patches
		w.Set(pod, status(corev1.PodRunning, "10.0.0.2"))
		w.Seen(s.pod)
		w.Seen(pod) // an old state, late
		synctest.Wait()
		if s.patches != patches {
			t.Error("the same status was written again")
		}
	})
}

func TestForeignWritesAreCorrected(t *testing.T) {
	s := &server{pod: newPod()}
	run(t, s, func(w *report.Writer) {
		w.Set(s.pod, status(corev1.PodRunning))
		synctest.Wait()
		wrong := s.pod.DeepCopy()
		wrong.Status.Phase = corev1.PodPending
		s.store(wrong)
		w.Seen(wrong)
		synctest.Wait()
		if s.pod.Status.Phase != corev1.PodRunning {
			t.Errorf("the phase is %s", s.pod.Status.Phase)
		}
	})
}

func TestFailuresAreRepeatedWithTheNewestStatus(t *testing.T) {
	s := &server{pod: newPod(), fail: apierrors.NewServiceUnavailable("down")}
	run(t, s, func(w *report.Writer) {
		pod := s.pod
		w.Set(pod, status(corev1.PodPending, "10.0.0.1"))
		time.Sleep(5 * time.Second)
		w.Set(pod, status(corev1.PodRunning, "10.0.0.1"))
		synctest.Wait()
		s.mu.Lock()
		s.fail = nil
		before := s.patches
		s.mu.Unlock()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if s.pod.Status.Phase != corev1.PodRunning || s.patches != before+1 {
			t.Errorf("phase %s after %d patches", s.pod.Status.Phase, s.patches-before)
		}
	})
}

func TestFinish(t *testing.T) {
	s := &server{pod: newPod()}
	run(t, s, func(w *report.Writer) {
		pod := s.pod
		if err := w.Finish(t.Context(), pod, status(corev1.PodFailed)); err != nil || s.pod != nil || s.patches != 1 {
			t.Errorf("got %v, pod %v, %d patches", err, s.pod, s.patches)
		}
		if err := w.Finish(t.Context(), pod, status(corev1.PodFailed)); !apierrors.IsNotFound(err) {
			t.Errorf("a second time: %v", err)
		}
		s.pod = newPod()
		s.pod.UID = "other"
		_ = w.Finish(t.Context(), pod, status(corev1.PodFailed))
		if s.pod == nil {
			t.Error("another pod of the same name was deleted")
		}
	})
}
