package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/agent"
	"coracle.local/services/kubelet/internal/downward"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/engine/hollow"
	"coracle.local/services/kubelet/internal/environ"
	"coracle.local/services/kubelet/internal/events"
	"coracle.local/services/kubelet/internal/images"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/podfiles"
	"coracle.local/services/kubelet/internal/podspec"
	"coracle.local/services/kubelet/internal/report"
)

// cluster is an API server with pods and ConfigMaps, one node on it, and all
// that a test turns knobs on.
type cluster struct {
	t      *testing.T
	engine *faulty

	mu         sync.Mutex
	pods       map[string]*corev1.Pod
	revision   int
	configMaps map[string]*corev1.ConfigMap
	probes     map[string]lifecycle.Probes
	verdict    *lifecycle.Verdict
	events     []string
	hooks      func(h *corev1.LifecycleHandler) error

	agent *agent.Agent // nil while the kubelet is down
	stop  func()
}

// bubble runs a test in which time passes only when all is quiet.
func bubble(t *testing.T, f func(*cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{
			t: t, engine: newFaulty(hollow.New(hollow.Config{})), pods: map[string]*corev1.Pod{}, configMaps: map[string]*corev1.ConfigMap{},
			probes: map[string]lifecycle.Probes{},
		}
		c.boot()
		f(c)
		c.crash()
	})
}

// boot starts a kubelet that knows nothing of an earlier one.
func (c *cluster) boot() {
	cl, recorder := clock.RealClock{}, events.Recorder{Sink: c}
	maker := &environ.Maker{Objects: c, Node: func() downward.Node { return downward.Node{HostIPs: []string{"192.168.0.1"}} }}
	writer := report.New(c, cl, zap.NewNop())
	a := agent.New(agent.Config{
		Log: zap.NewNop(), Clock: cl, Events: recorder, Engine: c.engine, EngineName: "hollow",
		Images: &images.Puller{Engine: c.engine, Events: recorder, Clock: cl, Log: zap.NewNop()},
		Files:  podfiles.Hollow{Objects: c}, Environment: maker, Hooks: c, Probes: c, Reporter: writer, References: c,
		Admit:   func(*corev1.Pod, []*corev1.Pod) *lifecycle.Verdict { return c.verdict },
		HostIPs: func() []string { return []string{"192.168.0.1"} }, DNS: func() podspec.DNS { return podspec.DNS{} },
		Memory:  func() int64 { return 0 },
		Backoff: lifecycle.DefaultBackoff(), Relist: 10 * time.Second,
	})
	ctx, cancel := context.WithCancel(c.t.Context())
	var group sync.WaitGroup
	group.Go(func() { _ = writer.Run(ctx) })
	c.mu.Lock()
	known := maps.Clone(c.pods)
	c.agent = a
	c.mu.Unlock()
	group.Go(func() {
		_ = a.Run(ctx, func(context.Context) error {
			for _, p := range known {
				a.Update(p)
			}
			return nil
		})
	})
	c.stop = func() { cancel(); group.Wait() }
	synctest.Wait()
}

// crash ends the kubelet and leaves everything else as it is.
func (c *cluster) crash() {
	if c.stop != nil {
		c.stop()
	}
	c.mu.Lock()
	c.agent, c.stop = nil, nil
	c.mu.Unlock()
}

// after lets time pass and everything settle.
func (c *cluster) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// The API server.

func (c *cluster) tell(pod *corev1.Pod, gone bool) {
	c.mu.Lock()
	a := c.agent
	c.mu.Unlock()
	switch {
	case a == nil:
	case gone:
		a.Remove(pod)
	default:
		a.Update(pod)
	}
}

func (c *cluster) store(pod *corev1.Pod) *corev1.Pod {
	c.revision++
	pod.ResourceVersion = strconv.Itoa(c.revision)
	c.pods[pod.Name] = pod
	return pod
}

func (c *cluster) create(pod *corev1.Pod) {
	c.mu.Lock()
	stored := c.store(pod.DeepCopy())
	c.mu.Unlock()
	c.tell(stored, false)
	synctest.Wait()
}

// change edits a pod as a user does.
func (c *cluster) change(name string, edit func(*corev1.Pod)) {
	c.mu.Lock()
	pod := c.pods[name].DeepCopy()
	edit(pod)
	stored := c.store(pod)
	c.mu.Unlock()
	c.tell(stored, false)
	synctest.Wait()
}

func (c *cluster) delete(name string, grace int64) {
	c.change(name, func(p *corev1.Pod) {
		t := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &t, &grace
	})
}

// vanish takes a pod from the API server without asking its node.
func (c *cluster) vanish(name string) {
	c.mu.Lock()
	pod := c.pods[name]
	delete(c.pods, name)
	c.mu.Unlock()
	c.tell(pod, true)
	synctest.Wait()
}

func (c *cluster) Get(_ context.Context, _, name string) (*corev1.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.pods[name]; ok {
		return p, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
}

func (c *cluster) Patch(_ context.Context, _, name string, _ types.PatchType, data []byte, _ string) (*corev1.Pod, error) {
	c.mu.Lock()
	pod, ok := c.pods[name]
	if !ok {
		c.mu.Unlock()
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	before, err := json.Marshal(pod)
	if err == nil {
		before, err = strategicpatch.StrategicMergePatch(before, data, corev1.Pod{})
	}
	out := &corev1.Pod{}
	if err == nil {
		err = json.Unmarshal(before, out)
	}
	if err == nil {
		err = legal(pod, out)
	}
	if err != nil {
		c.t.Errorf("bad status of %s: %v", name, err)
		c.mu.Unlock()
		return nil, apierrors.NewBadRequest(err.Error())
	}
	stored := c.store(out)
	c.mu.Unlock()
	c.tell(stored, false)
	return stored, nil
}

// legal refuses what must never happen to a pod.
func legal(before, after *corev1.Pod) error {
	terminal := func(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }
	if terminal(before.Status.Phase) && after.Status.Phase != before.Status.Phase {
		return fmt.Errorf("from %s to %s", before.Status.Phase, after.Status.Phase)
	}
	for _, s := range after.Status.ContainerStatuses {
		if terminal(after.Status.Phase) && s.State.Running != nil {
			return fmt.Errorf("%s with container %s running", after.Status.Phase, s.Name)
		}
		for _, old := range before.Status.ContainerStatuses {
			if old.Name == s.Name && old.RestartCount > s.RestartCount {
				return fmt.Errorf("restarts of %s went from %d to %d", s.Name, old.RestartCount, s.RestartCount)
			}
		}
	}
	return nil
}

func (c *cluster) Delete(_ context.Context, _, name string, o metav1.DeleteOptions) error {
	c.mu.Lock()
	pod, ok := c.pods[name]
	if !ok || *o.Preconditions.UID != pod.UID {
		c.mu.Unlock()
		return apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	if p := pod.Status.Phase; p != corev1.PodSucceeded && p != corev1.PodFailed {
		c.t.Errorf("%s was deleted while %s", name, p)
	}
	delete(c.pods, name)
	c.mu.Unlock()
	c.tell(pod, true)
	return nil
}

// Objects, hooks, probes, references and events.

func (c *cluster) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cm, ok := c.configMaps[name]; ok {
		return cm, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
}

func (c *cluster) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
}

func (c *cluster) Run(_ context.Context, _ *corev1.Pod, _ *corev1.Container, _, _ string, h *corev1.LifecycleHandler) error {
	if c.hooks == nil {
		return errors.New("no hook was expected")
	}
	return c.hooks(h)
}

func (c *cluster) Sync(*corev1.Pod, corev1.PodStatus, bool) {}

func (c *cluster) Results(types.UID) map[string]lifecycle.Probes {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.probes)
}

func (c *cluster) Use(*corev1.Pod) {}

func (c *cluster) Forget(types.UID) {}

func (c *cluster) Event(_ runtime.Object, _, reason, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, reason+": "+message)
}

func (c *cluster) Eventf(o runtime.Object, kind, reason, format string, args ...any) {
	c.Event(o, kind, reason, fmt.Sprintf(format, args...))
}

func (c *cluster) AnnotatedEventf(o runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	c.Event(o, kind, reason, fmt.Sprintf(format, args...))
}

// took returns the events since the last call.
func (c *cluster) took() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.events
	c.events = nil
	return out
}

// What there is now.

func (c *cluster) pod(name string) *corev1.Pod {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pods[name]
	if !ok {
		c.t.Fatalf("there is no pod %s", name)
	}
	return p
}

func (c *cluster) has(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.pods[name]
	return ok
}

// containers sums up what the engine holds of a pod: "app#0 running, ...",
// the oldest first.
func (c *cluster) containers(uid types.UID) string {
	p, err := c.engine.Engine.Pod(context.Background(), uid)
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for i := len(p.Containers) - 1; i >= 0; i-- {
		out = append(out, fmt.Sprintf("%s#%d %s", p.Containers[i].Name, p.Containers[i].Attempt, p.Containers[i].State))
	}
	return strings.Join(out, ", ")
}

// running returns the ID of a container's running instance.
func (c *cluster) running(uid types.UID, name string) string {
	c.t.Helper()
	p, err := c.engine.Engine.Pod(context.Background(), uid)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, x := range p.Containers {
		if x.Name == name && x.State == engine.Running {
			return x.ID
		}
	}
	c.t.Fatalf("%s does not run: %s", name, c.containers(uid))
	return ""
}

// waiting is why the pod's first container waits.
func (c *cluster) waiting(name string) string {
	c.t.Helper()
	if w := c.pod(name).Status.ContainerStatuses[0].State.Waiting; w != nil {
		return w.Reason
	}
	return ""
}
