package lab

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// load is a pod on each node that asks a Service steadily.
type load struct {
	*lab
	namespace string
	pods      []string
}

func (l *lab) startLoad(namespace, service string) *load {
	l.t.Helper()
	x := &load{lab: l, namespace: namespace}
	for _, node := range l.nodes {
		name := "load-from-" + node
		l.createPod(namespace, name, pinned(corev1.PodSpec{Containers: []corev1.Container{{
			Name: "load", Image: l.image("1"), Args: []string{"load", "-every", "50ms", "http://" + service + "/steady"},
		}}}, node))
		x.pods = append(x.pods, name)
	}
	x.goesOn()
	return x
}

// sums are what a load pod printed last.
func (x *load) sums(pod string) (asked, failed int, logs string, err error) {
	if logs, err = x.tryKubectl("logs", pod, "-n", x.namespace); err != nil {
		return 0, 0, "", err
	}
	last := logs[strings.LastIndex(logs, "asked ")+1:]
	if _, err := fmt.Sscanf(last, "sked %d failed %d", &asked, &failed); err != nil {
		return 0, 0, logs, fmt.Errorf("no sums yet: %w", err)
	}
	return asked, failed, logs, nil
}

// goesOn waits for some more requests of each pod.
func (x *load) goesOn() {
	x.t.Helper()
	before := map[string]int{}
	for _, pod := range x.pods {
		before[pod], _, _, _ = x.sums(pod)
	}
	x.eventually(long, "more requests were made", func(context.Context) error {
		for _, pod := range x.pods {
			asked, _, logs, err := x.sums(pod)
			if err != nil {
				return fmt.Errorf("%s: %w: %s", pod, err, logs)
			}
			if asked < before[pod]+50 {
				return fmt.Errorf("%s made %d, and before %d", pod, asked, before[pod])
			}
		}
		return nil
	})
}

// lostNothing fails the test if a request failed so far.
func (x *load) lostNothing() {
	x.t.Helper()
	for _, pod := range x.pods {
		asked, failed, logs, err := x.sums(pod)
		if err != nil {
			x.t.Fatal(err)
		}
		x.t.Logf("%s: %d requests, %d failed", pod, asked, failed)
		if failed == 0 {
			continue
		}
		for line := range strings.Lines(logs) {
			if strings.HasPrefix(line, "failure") {
				x.t.Errorf("%s: %s", pod, line)
			}
		}
	}
}
