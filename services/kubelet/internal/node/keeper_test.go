package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/events"
	"coracle.local/services/kubelet/internal/node"
)

// server has Nodes and Leases, and can be down.
type server struct {
	mu      sync.Mutex
	down    bool
	node    *corev1.Node
	lease   *coordinationv1.Lease
	renewed int
	patches []string
	events  []string
}

var errDown = apierrors.NewServiceUnavailable("down")

func (s *server) Get(_ context.Context, _, name string) (*corev1.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.down:
		return nil, errDown
	case s.node == nil:
		return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
	}
	return s.node.DeepCopy(), nil
}

func (s *server) Create(_ context.Context, n *corev1.Node) (*corev1.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.down:
		return nil, errDown
	case s.node != nil:
		return nil, apierrors.NewAlreadyExists(corev1.Resource("nodes"), n.Name)
	}
	s.node = n.DeepCopy()
	s.node.UID = "node-uid"
	return s.node.DeepCopy(), nil
}

func (s *server) Patch(_ context.Context, _, name string, pt types.PatchType, data []byte, _ string) (*corev1.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.down:
		return nil, errDown
	case s.node == nil:
		return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
	}
	before, err := json.Marshal(s.node)
	if err != nil {
		return nil, err
	}
	var after []byte
	if pt == types.StrategicMergePatchType {
		after, err = strategicpatch.StrategicMergePatch(before, data, corev1.Node{})
	} else {
		after = before // and data on top of it, below
	}
	if err != nil {
		return nil, err
	}
	s.patches = append(s.patches, string(data))
	s.node = &corev1.Node{}
	if err := json.Unmarshal(after, s.node); err != nil {
		return nil, err
	}
	if pt == types.MergePatchType {
		if err := json.Unmarshal(data, s.node); err != nil {
			return nil, err
		}
	}
	return s.node.DeepCopy(), nil
}

// view is a copy of what a test may look at.
type view struct {
	node    *corev1.Node
	lease   *coordinationv1.Lease
	renewed int
	patches int
	events  []string
}

func (s *server) view() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return view{s.node, s.lease, s.renewed, len(s.patches), slices.Clone(s.events)}
}

type leases struct{ *server }

func (l leases) Get(context.Context, string, string) (*coordinationv1.Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.down:
		return nil, errDown
	case l.lease == nil:
		return nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), "n1")
	}
	return l.lease.DeepCopy(), nil
}

func (l leases) Create(_ context.Context, x *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	return l.Update(context.Background(), x)
}

func (l leases) Update(_ context.Context, x *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.down:
		return nil, errDown
	case l.lease != nil && l.lease.ResourceVersion != x.ResourceVersion:
		return nil, apierrors.NewConflict(coordinationv1.Resource("leases"), "n1", errors.New("changed"))
	}
	l.renewed++
	l.lease = x.DeepCopy()
	l.lease.ResourceVersion = strconv.Itoa(l.renewed)
	return l.lease.DeepCopy(), nil
}

func (s *server) Event(_ runtime.Object, _, _, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, message)
}

func (s *server) Eventf(o runtime.Object, kind, reason, format string, args ...any) {
	s.Event(o, kind, reason, fmt.Sprintf(format, args...))
}

func (s *server) AnnotatedEventf(o runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	s.Event(o, kind, reason, fmt.Sprintf(format, args...))
}

func facts() node.Facts {
	return node.Facts{
		Hostname: "n1", IPs: []string{"192.168.0.1"}, Port: 10250, MaxPods: 110, Now: time.Now(), Eviction: node.DefaultEviction(),
		Engine:  engine.Info{Name: "docker", Version: "20.10", CPUs: 2, MemoryBytes: 4 << 30},
		Machine: node.Machine{MemoryAvailable: 2 << 30, Storage: node.Storage{Capacity: 100 << 30, Available: 50 << 30, Inodes: 100, InodesFree: 50}},
	}
}

func run(t *testing.T, s *server, look func() node.Facts, f func(k *node.Keeper)) {
	synctest.Test(t, func(t *testing.T) {
		k := node.NewKeeper(node.Config{
			Name: "n1", Hostname: "n1", Labels: map[string]string{"zone": "a"}, Taints: []corev1.Taint{{Key: "new", Effect: corev1.TaintEffectNoSchedule}},
			Register: true, Nodes: s, Leases: leases{s}, Facts: func(context.Context) node.Facts { return look() },
			Events: events.Recorder{Sink: s}, Clock: clock.RealClock{}, Log: zap.NewNop(),
		})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _ = k.Run(ctx) })
		synctest.Wait()
		f(k)
		cancel()
		group.Wait()
	})
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestRegistrationAndHeartbeats(t *testing.T) {
	s := &server{down: true}
	run(t, s, facts, func(*node.Keeper) {
		if s.view().node != nil {
			t.Fatal("registered with a server that is down")
		}
		s.mu.Lock()
		s.down = false
		s.mu.Unlock()
		after(7 * time.Second)
		v := s.view()
		if v.node == nil || v.node.Labels["zone"] != "a" || v.node.Labels["kubernetes.io/hostname"] != "n1" || len(v.node.Spec.Taints) != 1 {
			t.Fatalf("got %+v", v.node)
		}
		if a := v.node.Status.Allocatable; a.Memory().Value() != 4<<30-100<<20 || a.Cpu().Value() != 2 || a.Pods().Value() != 110 {
			t.Errorf("allocatable %v", a)
		}
		if v.lease == nil || *v.lease.Spec.LeaseDurationSeconds != 40 || v.lease.OwnerReferences[0].UID != "node-uid" {
			t.Errorf("lease %+v", v.lease)
		}
		after(time.Minute)
		if n := s.view().renewed - v.renewed; n < 6 || n > 7 {
			t.Errorf("renewed %d times in a minute", n)
		}
		if n := s.view().patches - v.patches; n != 0 {
			t.Errorf("the same status was written %d times", n)
		}
		after(5 * time.Minute)
		if n := s.view().patches - v.patches; n != 1 {
			t.Errorf("the same status was written %d times in five minutes", n)
		}
	})
}

func TestConditionsTurn(t *testing.T) {
	s := &server{}
	now := facts()
	now.Engine.NetworkReady = errors.New("cni plugin not initialized")
	var mu sync.Mutex
	look := func() node.Facts {
		mu.Lock()
		defer mu.Unlock()
		now.Now = time.Now()
		return now
	}
	ready := func() corev1.NodeCondition { return s.view().node.Status.Conditions[3] }
	run(t, s, look, func(*node.Keeper) {
		if c := ready(); c.Type != corev1.NodeReady || c.Status != corev1.ConditionFalse || c.Reason != "KubeletNotReady" ||
			c.Message != "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized" {
			t.Fatalf("got %+v", c)
		}
		mu.Lock()
		now.Engine.NetworkReady = nil
		now.IPs = []string{"192.168.0.1", "fd00::1"}
		mu.Unlock()
		after(time.Second)
		if c := ready(); c.Status != corev1.ConditionTrue || c.Message != "kubelet is posting ready status" {
			t.Fatalf("got %+v", c)
		}
		if got := s.view().node.Status.Addresses; len(got) != 3 || got[0].Address != "192.168.0.1" || got[1].Address != "fd00::1" {
			t.Errorf("addresses %v", got)
		}
		mu.Lock()
		now.EngineError = errors.New("no answer")
		now.Machine.Storage.Available = 1 << 30
		mu.Unlock()
		after(10 * time.Second)
		if c := ready(); c.Status != corev1.ConditionFalse || c.Message != "container runtime is down: no answer" {
			t.Errorf("got %+v", c)
		}
		want := map[string]bool{"Node n1 status is now: NodeReady": true, "Node n1 status is now: NodeNotReady": true, "Node n1 status is now: NodeHasDiskPressure": true, "Starting kubelet.": true}
		for _, e := range s.view().events {
			delete(want, e)
		}
		if len(want) != 0 {
			t.Errorf("not told: %v of %q", want, s.view().events)
		}
	})
}

func TestAnOldNodeIsTakenOver(t *testing.T) {
	old := &corev1.Node{}
	old.Name, old.UID, old.Labels = "n1", "old", map[string]string{"mine": "x", "zone": "b"}
	old.Spec.PodCIDR = "10.1.0.0/24"
	old.Status.Capacity = corev1.ResourceList{"example.com/gpu": resource.MustParse("2")}
	s := &server{node: old}
	run(t, s, facts, func(k *node.Keeper) {
		n := s.view().node
		if n.UID != "old" || n.Labels["mine"] != "x" || n.Labels["zone"] != "a" || n.Spec.PodCIDR != "10.1.0.0/24" || len(n.Spec.Taints) != 0 {
			t.Errorf("got %+v", n)
		}
		if _, ok := n.Status.Capacity["example.com/gpu"]; !ok || n.Status.NodeInfo.KubeletVersion != "v1.37.2-coracle" {
			t.Errorf("status %+v", n.Status)
		}
		s.mu.Lock()
		s.node = nil
		s.mu.Unlock()
		after(6 * time.Minute)
		if s.view().node == nil || k.Node().UID != "node-uid" {
			t.Error("a deleted node did not come back")
		}
	})
}

func TestEvictionThresholds(t *testing.T) {
	e, err := node.ParseEviction("memory.available<200Mi,nodefs.available<5%,imagefs.available<15%")
	if err != nil || e.MemoryAvailable.Amount != 200<<20 || e.NodefsAvailable.Percent != 5 || e.NodefsInodesFree.Percent != 0 {
		t.Errorf("got %+v, %v", e, err)
	}
	for _, bad := range []string{"memory.available", "nonsense<1", "memory.available<x"} {
		if _, err := node.ParseEviction(bad); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}
