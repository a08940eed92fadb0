package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestComponentsKilledDuringARollout kills every component at random moments while
// rollouts, a Job and other writes go on. The cluster must come to the state asked for,
// with every acknowledged write, and without a container that ran twice.
func TestComponentsKilledDuringARollout(t *testing.T) {
	l := open(t)
	ns := l.namespace("chaos")
	l.createDeployment(ns, "web", 4, l.quickPod())
	witnesses := l.startWitnesses(ns)
	l.rolledOut(ns, "web")
	l.createJob(ns, "work", 8, 2, "2s")

	c := l.startChaos(ns, "web")
	victims := slices.Concat(l.parts(), l.parts())
	c.random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, part := range victims {
		c.sometime(4 * time.Second)
		t.Logf("killing %s", part)
		l.docker("kill", "-s", "KILL", l.container(part))
		c.sometime(2 * time.Second)
		// Docker takes a kill for the user's will, and lets it be.
		l.docker("start", l.container(part))
	}
	c.sometime(4 * time.Second)
	c.end()

	l.eventually(long, "a last rollout is asked for", func(ctx context.Context) error { return c.change(ctx, "web", "last") })
	pods := l.rolledOut(ns, "web")
	l.jobDone(ns, "work", 8)
	l.oneReplicaSet(ns, 4)
	witnesses.unharmed()
	l.allReady()
	l.exactlyRuns(ns, len(pods)+len(l.nodes))
	c.verdict()
}

func (l *lab) jobDone(ns, name string, completions int32) {
	l.t.Helper()
	l.eventually(long, "the job is complete", func(ctx context.Context) error {
		job, err := l.kube.BatchV1().Jobs(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if job.Status.CompletionTime == nil || job.Status.Succeeded != completions {
			return fmt.Errorf("its status is %+v", job.Status)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	pods, err := l.podsOf(ctx, ns, name)
	if err != nil {
		l.t.Fatal(err)
	}
	if len(pods) != int(completions) {
		l.t.Errorf("the job of %d completions has %d pods: %s", completions, len(pods), summary(pods))
	}
}

// oneReplicaSet waits until all replicas are of one, and old ones have none.
func (l *lab) oneReplicaSet(ns string, replicas int32) {
	l.t.Helper()
	l.eventually(long, "one ReplicaSet has all replicas", func(ctx context.Context) error {
		sets, err := l.kube.AppsV1().ReplicaSets(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return err
		}
		full := 0
		for i := range sets.Items {
			want, s := *sets.Items[i].Spec.Replicas, sets.Items[i].Status
			if s.Replicas != want || s.ReadyReplicas != want || (want != 0 && want != replicas) {
				return fmt.Errorf("%s of %d replicas: %+v", sets.Items[i].Name, want, s)
			}
			if want == replicas {
				full++
			}
		}
		if full != 1 {
			return fmt.Errorf("%d ReplicaSets have %d replicas", full, replicas)
		}
		return nil
	})
}

// exactlyRuns waits until as many containers run as there should be, each with its
// sandbox, and every pod's own.
func (l *lab) exactlyRuns(ns string, count int) {
	l.t.Helper()
	l.eventually(long, fmt.Sprintf("exactly %d containers run", count), func(context.Context) error {
		all, err := l.census(ns)
		if err != nil {
			return err
		}
		sandboxes, err := l.containers(ns, "ps", "--filter", "label=io.kubernetes.docker.type=podsandbox")
		if err != nil {
			return err
		}
		if len(all) != count || len(sandboxes) != count {
			return fmt.Errorf("containers %+v, sandboxes %+v", all, sandboxes)
		}
		return nil
	})
}

// witnesses are pods, one on each node, that must not notice what happens to the
// components.
type witnesses struct {
	*lab
	namespace string
	before    map[string]*corev1.Pod
}

func (l *lab) startWitnesses(ns string) *witnesses {
	l.t.Helper()
	w := &witnesses{lab: l, namespace: ns, before: map[string]*corev1.Pod{}}
	for _, node := range l.nodes {
		l.createPod(ns, "witness-on-"+node, pinned(l.quickPod(), node))
	}
	for _, node := range l.nodes {
		w.before[node] = l.readyPod(ns, "witness-on-"+node)
	}
	return w
}

// unharmed looks for the same pods with the same containers, running and ready.
func (w *witnesses) unharmed() {
	w.t.Helper()
	for node, before := range w.before {
		now := w.readyPod(w.namespace, before.Name)
		if now.UID != before.UID || containerID(now) != containerID(before) || now.Status.ContainerStatuses[0].RestartCount != 0 ||
			now.Status.PodIP != before.Status.PodIP {
			w.t.Errorf("pod %s was %s with container %s at %s, and is %s with %s at %s, %d restarts", before.Name, before.UID, containerID(before),
				before.Status.PodIP, now.UID, containerID(now), now.Status.PodIP, now.Status.ContainerStatuses[0].RestartCount)
		}
		started := strings.TrimSpace(w.on(node, "docker", "inspect", "--format", "{{.State.Running}}", containerID(before)))
		if started != "true" {
			w.t.Errorf("the container of pod %s does not run on %s", before.Name, node)
		}
	}
}
