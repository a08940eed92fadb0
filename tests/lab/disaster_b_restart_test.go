package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRestartOfEachComponent restarts one container of the lab after the other; each
// time the same cluster must be there, at work, and running pods must not notice.
func TestRestartOfEachComponent(t *testing.T) {
	l := open(t)
	ns := l.namespace("restarts")
	w := l.startWitnesses(ns)
	for i, part := range append(l.parts(), "registry", "steward") {
		l.docker("restart", "--time", "10", l.container(part))
		l.atWork(ns, "after-"+strconv.Itoa(i)+"-"+part)
		w.unharmed()
	}
}

// atWork makes the cluster do something that needs all its parts: a pod on each node
// and a Service, asked from the witness on the other node by name.
func (l *lab) atWork(ns, name string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	l.eventually(long, "the API server answers", func(ctx context.Context) error {
		_, err := l.kube.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		return err
	})
	l.createService(ns, name)
	for _, node := range l.nodes {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name + "-on-" + node, Labels: map[string]string{"app": name}},
			Spec:       pinned(l.quickPod(), node),
		}
		if _, err := l.kube.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			l.t.Fatal(err)
		}
	}
	for _, node := range l.nodes {
		l.readyPod(ns, name+"-on-"+node)
	}
	for _, node := range l.nodes {
		l.eventually(long, "the new Service answers on "+node, func(context.Context) error {
			_, err := l.tryKubectl("exec", "witness-on-"+node, "-n", ns, "--", "/server", "get", "http://"+name+"/")
			return err
		})
	}
	if err := l.kube.CoreV1().Services(ns).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		l.t.Fatal(err)
	}
	if err := l.kube.CoreV1().Pods(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=" + name}); err != nil {
		l.t.Fatal(err)
	}
}

// TestStopAndStartOfAll turns the lab off and on.
func TestStopAndStartOfAll(t *testing.T) {
	l := open(t)
	ns := l.namespace("stopped")
	l.createDeployment(ns, "web", 2, l.quickPod())
	l.createService(ns, "web")
	w := l.startWitnesses(ns)
	l.rolledOut(ns, "web")
	before, err := l.kube.CoreV1().Namespaces().Get(context.Background(), ns, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}

	compose := filepath.Join(l.root, "lab/compose.sh")
	l.run(compose, "stop")
	l.run(compose, "start")
	l.allReady()
	after, err := l.kube.CoreV1().Namespaces().Get(context.Background(), ns, metav1.GetOptions{})
	if err != nil || after.UID != before.UID {
		t.Fatalf("the namespace was %s and is %s: %v", before.UID, after.UID, err)
	}
	w.cameBack()
	pods := l.rolledOut(ns, "web")
	l.exactlyRuns(ns, len(pods)+len(l.nodes))
	l.answers(ns, "web", "1")
	l.atWork(ns, "after-all")
}

// cameBack waits until the machines, which were off, run the same pods again.
func (w *witnesses) cameBack() {
	w.t.Helper()
	for node, before := range w.before {
		w.eventually(long, "the pod on "+node+" runs again", func(ctx context.Context) error {
			now, err := w.pod(ctx, w.namespace, before.Name)
			if err != nil {
				return err
			}
			if now.UID != before.UID {
				w.t.Fatalf("pod %s was %s and is %s", before.Name, before.UID, now.UID)
			}
			if !podReady(now) || containerID(now) == containerID(before) {
				return fmt.Errorf("it is %+v", now.Status)
			}
			return nil
		})
	}
}
