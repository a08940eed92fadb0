package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// chaos is what goes on while components are killed: rollouts, writes whose success
// was acknowledged, and a census of what runs.
type chaos struct {
	*lab
	namespace string
	random    *rand.Rand
	group     sync.WaitGroup
	stop      context.CancelFunc

	mu       sync.Mutex
	written  []string
	refused  int
	rollouts int
	censuses int
	twice    []string
}

// dice are seeded by CORACLE_SEED, to repeat a run, or by the clock.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CORACLE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("CORACLE_SEED: %v", err)
		}
	}
	t.Logf("CORACLE_SEED=%d repeats this order", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

func (l *lab) startChaos(namespace, deployment string) *chaos {
	ctx, stop := context.WithCancel(context.Background())
	c := &chaos{lab: l, namespace: namespace, random: dice(l.t), stop: stop}
	l.t.Cleanup(c.end)
	for _, work := range []func(context.Context){
		func(ctx context.Context) { c.roll(ctx, deployment) },
		c.write,
		c.count,
	} {
		c.group.Add(1)
		go func() {
			defer c.group.Done()
			work(ctx)
		}()
	}
	return c
}

// end stops all that goes on; it may be called again.
func (c *chaos) end() {
	c.stop()
	c.group.Wait()
}

// sometime waits up to most.
func (c *chaos) sometime(most time.Duration) {
	time.Sleep(time.Duration(c.random.Int64N(int64(most))))
}

// roll starts one rollout after the other, each when the last is complete or has
// had its time.
func (c *chaos) roll(ctx context.Context, name string) {
	for generation := 1; ctx.Err() == nil; generation++ {
		if err := c.change(ctx, name, strconv.Itoa(generation)); err != nil {
			rest(ctx, 300*time.Millisecond)
			continue
		}
		c.mu.Lock()
		c.rollouts++
		c.mu.Unlock()
		begin := time.Now()
		for ctx.Err() == nil && time.Since(begin) < 20*time.Second {
			rest(ctx, 500*time.Millisecond)
			d, err := c.kube.AppsV1().Deployments(c.namespace).Get(ctx, name, metav1.GetOptions{})
			if err == nil && d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas &&
				d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas {
				break
			}
		}
	}
}

// change gives a deployment's template a new value, and so starts a rollout.
func (c *chaos) change(ctx context.Context, name, value string) error {
	patch := fmt.Sprintf(`{"spec": {"template": {"metadata": {"annotations": {"generation": %q}}}}}`, value)
	_, err := c.kube.AppsV1().Deployments(c.namespace).Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// write makes ConfigMaps and notes those that the API server said it has.
func (c *chaos) write(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		name := "written-" + strconv.Itoa(i)
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"i": strconv.Itoa(i)}}
		_, err := c.kube.CoreV1().ConfigMaps(c.namespace).Create(ctx, object, metav1.CreateOptions{})
		c.mu.Lock()
		if err == nil {
			c.written = append(c.written, name)
		} else {
			c.refused++
		}
		c.mu.Unlock()
		rest(ctx, 100*time.Millisecond)
	}
}

// count looks whether a container of a pod runs more than once, on one node or two.
func (c *chaos) count(ctx context.Context) {
	for ctx.Err() == nil {
		all, err := c.census(c.namespace)
		if err == nil {
			seen := map[string]running{}
			c.mu.Lock()
			c.censuses++
			for _, r := range all {
				if first, ok := seen[r.pod+"/"+r.container]; ok && first.id != r.id {
					c.twice = append(c.twice, fmt.Sprintf("%+v and %+v", first, r))
				}
				seen[r.pod+"/"+r.container] = r
			}
			c.mu.Unlock()
		}
		rest(ctx, time.Second)
	}
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// verdict fails the test if a write was lost or a container ran twice.
func (c *chaos) verdict() {
	c.t.Helper()
	c.end()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	list, err := c.kube.CoreV1().ConfigMaps(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	there := map[string]string{}
	for i := range list.Items {
		there[list.Items[i].Name] = list.Items[i].Data["i"]
	}
	for _, name := range c.written {
		if "written-"+there[name] != name {
			c.t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	for _, r := range c.twice {
		c.t.Errorf("it ran twice: %s", r)
	}
	c.t.Logf("%d rollouts, %d writes acknowledged and %d refused, %d censuses", c.rollouts, len(c.written), c.refused, c.censuses)
	if c.rollouts < 2 || len(c.written) == 0 || c.censuses == 0 {
		c.t.Errorf("too little went on to tell anything")
	}
}

// createJob makes one whose pods each wait and end well, so that any pod beyond
// completions ran for nothing.
func (l *lab) createJob(namespace, name string, completions, parallelism int32, wait string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: batchv1.JobSpec{
			Completions: &completions, Parallelism: &parallelism, CompletionMode: ptr.To(batchv1.IndexedCompletion),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
				Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever,
					Containers:    []corev1.Container{{Name: "work", Image: l.image("1"), Args: []string{"wait", wait}}},
				},
			},
		},
	}
	if _, err := l.kube.BatchV1().Jobs(namespace).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		l.t.Fatalf("create job %s: %v", name, err)
	}
}
