// Package report writes pods' statuses to the API server: the newest one of
// each pod, never two of one pod at a time, and nothing of what others wrote.
package report

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/podstatus"
)

// Pods are the API server's.
type Pods interface {
	Get(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	Patch(ctx context.Context, namespace, name string, pt types.PatchType, data []byte, subresource string) (*corev1.Pod, error)
	Delete(ctx context.Context, namespace, name string, o metav1.DeleteOptions) error
}

// atOnce bounds the writes in flight.
const atOnce = 16

// Delays between attempts to write one status.
const (
	firstDelay = 200 * time.Millisecond
	lastDelay  = 10 * time.Second
)

// Writer writes statuses while Run runs.
type Writer struct {
	pods  Pods
	clock clock.Clock
	log   *zap.Logger

	mu      sync.Mutex
	ctx     context.Context
	group   sync.WaitGroup
	slots   chan struct{}
	entries map[types.UID]*entry
}

// entry is one pod: what the API server has, and what it should.
type entry struct {
	api *corev1.Pod
	// stored is what the server made of the last write. It may differ from
	// what was asked for; asking again would change nothing.
	stored *corev1.PodStatus
	want   *corev1.PodStatus
	busy   bool
	dirty  bool
	// writing is held while a status is on its way.
	writing sync.Mutex
}

// New makes a writer.
func New(pods Pods, c clock.Clock, log *zap.Logger) *Writer {
	return &Writer{pods: pods, clock: c, log: log, slots: make(chan struct{}, atOnce), entries: map[types.UID]*entry{}}
}

// Run writes until ctx is done.
func (w *Writer) Run(ctx context.Context) error {
	w.mu.Lock()
	w.ctx = ctx
	for uid, e := range w.entries {
		w.start(uid, e)
	}
	w.mu.Unlock()
	<-ctx.Done()
	w.mu.Lock()
	w.ctx = nil // nobody starts a writer from here on
	w.mu.Unlock()
	w.group.Wait()
	return nil
}

func (w *Writer) entry(pod *corev1.Pod) *entry {
	e, ok := w.entries[pod.UID]
	if !ok {
		e = &entry{api: pod}
		w.entries[pod.UID] = e
	}
	return e
}

// Set reports a status soon.
func (w *Writer) Set(pod *corev1.Pod, s corev1.PodStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entry(pod)
	if e.want != nil && equality.Semantic.DeepEqual(*e.want, s) {
		return
	}
	e.want, e.dirty = &s, true
	w.start(pod.UID, e)
}

// Seen tells what the API server has. Where that is not what was reported, it
// is reported again: the kubelet knows better.
func (w *Writer) Seen(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entry(pod)
	if older(pod, e.api) {
		return
	}
	e.api = pod
	if e.stored != nil && equality.Semantic.DeepEqual(*e.stored, pod.Status) {
		return
	}
	if e.want != nil && !equality.Semantic.DeepEqual(merge(pod, *e.want), pod.Status) {
		e.dirty = true
		w.start(pod.UID, e)
	}
}

// older compares by resource version, which grows with every change.
func older(a, b *corev1.Pod) bool {
	x, err1 := strconv.ParseUint(a.ResourceVersion, 10, 64)
	y, err2 := strconv.ParseUint(b.ResourceVersion, 10, 64)
	return err1 == nil && err2 == nil && x < y
}

// Forget drops a pod.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.entries, uid)
}

// start has a goroutine write a pod's status, unless one is at it.
func (w *Writer) start(uid types.UID, e *entry) {
	if w.ctx == nil || w.ctx.Err() != nil || e.busy || !e.dirty {
		return
	}
	e.busy = true
	ctx := w.ctx
	w.group.Go(func() { w.work(ctx, uid, e) })
}

func (w *Writer) work(ctx context.Context, uid types.UID, e *entry) {
	delay := firstDelay
	for {
		select {
		case w.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := w.write(ctx, e)
		<-w.slots
		w.mu.Lock()
		if err == nil && !e.dirty || ctx.Err() != nil || w.entries[uid] != e {
			e.busy = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		if err == nil {
			delay = firstDelay
			continue
		}
		w.log.Info("pod status could not be written", zap.String("pod", e.api.Namespace+"/"+e.api.Name), zap.Error(err))
		select {
		case <-w.clock.After(delay):
		case <-ctx.Done():
		}
		delay = min(2*delay, lastDelay)
	}
}

// write makes the API server have what it should.
func (w *Writer) write(ctx context.Context, e *entry) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	w.mu.Lock()
	api, want := e.api, e.want
	e.dirty = false
	w.mu.Unlock()
	if want == nil {
		return nil
	}
	fresh, err := w.patch(ctx, api, *want)
	switch {
	case apierrors.IsNotFound(err):
		return nil // deleted; the informer will tell
	case apierrors.IsConflict(err), apierrors.IsInvalid(err):
		// What it was computed against is not what the server has.
		if newer, getErr := w.pods.Get(ctx, api.Namespace, api.Name); getErr == nil && newer.UID == api.UID {
			w.keep(e, newer)
		}
	case err == nil:
		w.keep(e, fresh)
		w.mu.Lock()
		e.stored = &fresh.Status
		w.mu.Unlock()
	}
	if err != nil {
		w.mu.Lock()
		e.dirty = true
		w.mu.Unlock()
		return fmt.Errorf("write the status of pod %s/%s: %w", api.Namespace, api.Name, err)
	}
	return nil
}

func (w *Writer) keep(e *entry, pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !older(pod, e.api) {
		e.api = pod
	}
}

// patch sends the difference between what the server has and what it should,
// if there is any.
func (w *Writer) patch(ctx context.Context, api *corev1.Pod, want corev1.PodStatus) (*corev1.Pod, error) {
	merged := merge(api, want)
	if equality.Semantic.DeepEqual(merged, api.Status) {
		return api, nil
	}
	before, err := json.Marshal(corev1.Pod{Status: api.Status})
	if err != nil {
		return nil, err
	}
	// The UID is there only to fail if another pod has taken the name.
	after, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: api.UID}, Status: merged})
	if err != nil {
		return nil, err
	}
	data, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	return w.pods.Patch(ctx, api.Namespace, api.Name, types.StrategicMergePatchType, data, "status")
}

// merge puts the kubelet's part into what the server has.
func merge(api *corev1.Pod, want corev1.PodStatus) corev1.PodStatus {
	out := want
	out.Conditions = nil
	for _, c := range api.Status.Conditions {
		if !podstatus.Ours(c.Type) {
			out.Conditions = append(out.Conditions, c)
		}
	}
	for _, c := range want.Conditions {
		if podstatus.Ours(c.Type) {
			out.Conditions = append(out.Conditions, c)
		}
	}
	if p := api.Status.Phase; p == corev1.PodFailed || p == corev1.PodSucceeded {
		out.Phase = p
	}
	// Fields that are never the kubelet's.
	out.NominatedNodeName = api.Status.NominatedNodeName
	out.ResourceClaimStatuses = api.Status.ResourceClaimStatuses
	out.ExtendedResourceClaimStatus = api.Status.ExtendedResourceClaimStatus
	return out
}

// Finish writes the final status and then deletes the pod, both at once.
func (w *Writer) Finish(ctx context.Context, pod *corev1.Pod, s corev1.PodStatus) error {
	w.mu.Lock()
	e := w.entry(pod)
	e.want = &s
	w.mu.Unlock()
	if err := w.write(ctx, e); err != nil {
		return err
	}
	now := int64(0)
	err := w.pods.Delete(ctx, pod.Namespace, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if apierrors.IsConflict(err) {
		return nil // another pod has the name: ours is gone
	}
	return err
}
