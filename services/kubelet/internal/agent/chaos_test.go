package agent_test

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine/hollow"
)

// TestEverythingFails lets an engine fail at random, before or after it has
// done what it was asked for, and the kubelet die at random moments. In the
// end everything is as the API server wants it, and nothing ever ran twice.
func TestEverythingFails(t *testing.T) {
	for seed := range int64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(c *cluster) {
				random := rand.New(rand.NewSource(seed))
				c.engine.random, c.engine.rate = rand.New(rand.NewSource(seed+100)), 0.3
				always := corev1.ContainerRestartPolicyAlways
				kinds := []func(name string) *corev1.Pod{
					func(name string) *corev1.Pod { return newPod(name) },
					func(name string) *corev1.Pod {
						return newPod(name, func(p *corev1.Pod) {
							p.Spec.InitContainers = []corev1.Container{{Name: "setup", Image: "s:1"}, {Name: "mesh", Image: "m:1", RestartPolicy: &always}}
							p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "two", Image: "t:1"})
						})
					},
					func(name string) *corev1.Pod {
						return newPod(name, policy(corev1.RestartPolicyNever), annotated(hollow.RunAnnotation, "20s"))
					},
					func(name string) *corev1.Pod {
						return newPod(name, annotated(hollow.RunAnnotation, "5s"), annotated(hollow.ExitAnnotation, "1"))
					},
				}
				for i := range 12 {
					c.create(kinds[i%len(kinds)](fmt.Sprintf("pod-%d", i)))
					c.after(time.Duration(random.Intn(2000)) * time.Millisecond)
					c.misfortune(random)
				}
				c.engine.mu.Lock()
				c.engine.random = nil
				c.engine.mu.Unlock()
				if c.agent == nil {
					c.boot()
				}
				c.after(10 * time.Minute)
				c.settled()
			})
		})
	}
}

// misfortune is one of the things that happen.
func (c *cluster) misfortune(random *rand.Rand) {
	name := fmt.Sprintf("pod-%d", random.Intn(12))
	switch random.Intn(8) {
	case 0, 1:
		c.crash()
		c.boot()
	case 2:
		if c.has(name) && c.pod(name).DeletionTimestamp == nil {
			c.delete(name, int64(random.Intn(30)))
		}
	case 3:
		if c.has(name) {
			c.vanish(name)
		}
	case 4:
		p, err := c.engine.Engine.Pod(c.t.Context(), newPod(name).UID)
		if err == nil && len(p.Sandboxes) > 0 {
			_ = c.engine.Engine.StopSandbox(c.t.Context(), p.Sandboxes[0].ID)
		}
	}
}

// settled checks that the engine holds what the API server wants.
func (c *cluster) settled() {
	c.t.Helper()
	c.engine.mu.Lock()
	for _, twice := range c.engine.twice {
		c.t.Errorf("ran twice: %s", twice)
	}
	c.engine.mu.Unlock()
	pods, err := c.engine.Engine.Pods(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range pods {
		if !c.has(p.Name) {
			c.t.Errorf("pod %s is gone and its %s are left", p.Name, c.containers(p.UID))
		}
	}
	c.mu.Lock()
	names := make([]string, 0, len(c.pods))
	for name := range c.pods {
		names = append(names, name)
	}
	c.mu.Unlock()
	for _, name := range names {
		p := c.pod(name)
		if p.DeletionTimestamp != nil {
			c.t.Errorf("%s is not deleted", name)
		}
		switch phase := p.Status.Phase; {
		case p.Spec.RestartPolicy == corev1.RestartPolicyNever && phase != corev1.PodSucceeded && phase != corev1.PodFailed,
			p.Spec.RestartPolicy == corev1.RestartPolicyAlways && phase != corev1.PodRunning:
			c.t.Errorf("%s is %s with %s", name, phase, c.containers(p.UID))
		}
	}
}
