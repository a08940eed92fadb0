package agent

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// Limits of a termination message that is taken from the log.
const (
	lastLines = 80
	lastBytes = 2048
)

// lastWords adds what dead containers have left to say. It is read once.
func (a *Agent) lastWords(ctx context.Context, r *record, seen *engine.Pod) {
	r.mu.Lock()
	pod := r.pod
	r.mu.Unlock()
	known := map[string]string{}
	for i := range seen.Containers {
		c := &seen.Containers[i]
		if c.State != engine.Exited {
			continue
		}
		words, ok := r.messages[c.ID]
		if !ok {
			words = a.readWords(ctx, pod, c)
		}
		known[c.ID] = words
		switch {
		case words == "":
		case c.Message == "":
			c.Message = words
		default:
			c.Message += ": " + words
		}
	}
	r.messages = known
}

func (a *Agent) readWords(ctx context.Context, pod *corev1.Pod, c *engine.Container) string {
	words := a.cfg.Files.Message(pod.UID, c.Name, c.Attempt)
	spec := lifecycle.SpecOf(pod, c.Name)
	if words != "" || spec == nil || spec.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError ||
		c.ExitCode == 0 || c.Reason == engine.ReasonCannotRun {
		return words
	}
	tail := &ring{}
	if err := a.cfg.Engine.Logs(ctx, c.ID, engine.LogOptions{Tail: lastLines}, tail, tail); err != nil {
		return fmt.Sprintf("Error on reading termination message from logs: %v", err)
	}
	return tail.String()
}

// ring keeps the last bytes written to it.
type ring struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b.Write(p)
	if extra := r.b.Len() - lastBytes; extra > 0 {
		r.b.Next(extra)
	}
	return len(p), nil
}

func (r *ring) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}
