package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/scheduler/internal/engine"
	"coracle.local/services/scheduler/internal/harness"
	"coracle.local/services/scheduler/internal/outbox"
	"coracle.local/services/scheduler/internal/storage"
)

// api records requests. Each waits until it is let through, if gate is set.
type api struct {
	mu      sync.Mutex
	gate    chan struct{}
	started chan struct{}
	fail    []error
	log     []string
	updated []metav1.Object
}

func (a *api) note(format string, args ...any) error {
	if a.gate != nil {
		a.started <- struct{}{}
		<-a.gate
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log = append(a.log, fmt.Sprintf(format, args...))
	if len(a.fail) > 0 {
		err := a.fail[0]
		a.fail = a.fail[1:]
		return err
	}
	return nil
}

func (a *api) Patch(_ context.Context, namespace, name string, pt types.PatchType, data []byte, subresource string) (*corev1.Pod, error) {
	var p struct {
		Status struct {
			Conditions        []corev1.PodCondition `json:"conditions"`
			NominatedNodeName *string               `json:"nominatedNodeName"`
		} `json:"status"`
		Metadata struct{ UID string } `json:"metadata"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	text := ""
	for _, c := range p.Status.Conditions {
		text += fmt.Sprintf(" %s=%s %s", c.Type, c.Status, c.Message)
	}
	if p.Status.NominatedNodeName != nil {
		text += " on " + *p.Status.NominatedNodeName
	}
	if pt != types.StrategicMergePatchType || subresource != "status" || p.Metadata.UID == "" {
		text += " badly"
	}
	return nil, a.note("patch %s/%s%s", namespace, name, text)
}

func (a *api) Delete(_ context.Context, namespace, name string, o metav1.DeleteOptions) error {
	return a.note("delete %s/%s %v", namespace, name, o.Preconditions != nil && o.Preconditions.UID != nil)
}

func (a *api) Event(o runtime.Object, eventType, reason, message string) {
	_ = a.note("event %s %s %s: %s", o.(*corev1.Pod).Name, eventType, reason, message)
}

type updates[T metav1.Object] struct{ *api }

func (u updates[T]) Update(_ context.Context, o T) (T, error) {
	u.mu.Lock()
	u.updated = append(u.updated, o)
	u.mu.Unlock()
	return o, nil
}

func (a *api) expect(t *testing.T, want ...string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if fmt.Sprint(a.log) != fmt.Sprint(want) {
		t.Errorf("requests:\n got %q\nwant %q", a.log, want)
	}
}

func background(t *testing.T) *outbox.Background {
	ctx, cancel := context.WithCancel(context.Background())
	b := outbox.NewBackground(ctx)
	t.Cleanup(func() {
		cancel()
		b.Wait()
	})
	return b
}

func condition(message string) engine.StatusChange {
	return engine.StatusChange{Condition: &corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: message}}
}

func TestNewestStatusCounts(t *testing.T) {
	a := &api{gate: make(chan struct{}), started: make(chan struct{})}
	b := background(t)
	w := outbox.NewStatusWriter(zap.NewNop(), a, b)
	p := harness.NewPod("p")
	node := "n1"
	w.WriteStatus(p, condition("first"))
	<-a.started
	w.WriteStatus(p, condition("second"))
	w.WriteStatus(p, engine.StatusChange{Nominated: &node})
	w.WriteStatus(p, condition("third"))
	a.gate <- struct{}{}
	<-a.started
	a.gate <- struct{}{}
	b.Wait()
	a.expect(t, "patch default/p PodScheduled=False first", "patch default/p PodScheduled=False third on n1")
}

func TestStatusIsWrittenAgain(t *testing.T) {
	a := &api{fail: []error{apierrors.NewServiceUnavailable("wait")}}
	b := background(t)
	outbox.NewStatusWriter(zap.NewNop(), a, b).WriteStatus(harness.NewPod("p"), condition("x"))
	b.Wait()
	a.expect(t, "patch default/p PodScheduled=False x", "patch default/p PodScheduled=False x")
}

func TestEvict(t *testing.T) {
	a := &api{}
	b := background(t)
	e := &outbox.Evictor{Pods: a, Recorder: a, Background: b, Now: func() time.Time { return harness.Start() }}
	done := make(chan error, 1)
	preemptor := harness.NewPod("important")
	e.Evict([]*corev1.Pod{harness.NewPod("v")}, preemptor, "n1", func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Error(err)
	}
	a.expect(t,
		"patch default/v DisruptionTarget=True default-scheduler: preempting to accommodate a higher priority pod",
		"delete default/v true",
		fmt.Sprintf("event v Normal Preempted: Preempted by pod %s on node n1", preemptor.UID))
}

func TestEvictPodsThatAreGone(t *testing.T) {
	a := &api{fail: []error{apierrors.NewNotFound(corev1.Resource("pods"), "v")}}
	e := &outbox.Evictor{Pods: a, Recorder: a, Background: background(t), Now: func() time.Time { return harness.Start() }}
	done := make(chan error, 1)
	e.Evict([]*corev1.Pod{harness.NewPod("v")}, harness.NewPod("p"), "n1", func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBindVolumes(t *testing.T) {
	a := &api{}
	v := &outbox.VolumeBinder{Volumes: updates[*corev1.PersistentVolume]{a}, Claims: updates[*corev1.PersistentVolumeClaim]{a}, Background: background(t)}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data", UID: "u"}}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}}
	done := make(chan error, 1)
	v.BindVolumes(harness.NewPod("p"), "n1", storage.Plan{
		Bindings: []storage.Binding{{Claim: claim, Volume: volume}}, Provision: []*corev1.PersistentVolumeClaim{claim},
	}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	disk, asked := a.updated[0].(*corev1.PersistentVolume), a.updated[1].(*corev1.PersistentVolumeClaim)
	if disk.Spec.ClaimRef == nil || disk.Spec.ClaimRef.Name != "data" || disk.Spec.ClaimRef.UID != "u" ||
		disk.Annotations[storage.AnnotationBoundByController] != "yes" {
		t.Errorf("volume is %v", disk)
	}
	if asked.Annotations[storage.AnnotationSelectedNode] != "n1" {
		t.Errorf("claim is %v", asked)
	}
	if volume.Spec.ClaimRef != nil || claim.Annotations != nil {
		t.Error("shared objects were changed")
	}
}
