// Package hook runs what a container wants done after it started and before it
// is stopped.
package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/action"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// Runner runs hooks.
type Runner struct {
	Engine action.Engine
	Client *http.Client
	Clock  clock.Clock
	// Plain is told when a hook that asked for HTTPS was answered in plain
	// HTTP and was given that; nil for nobody.
	Plain func(pod *corev1.Pod, host string)
}

// Run runs one hook of a container's instance. The error's text may hold
// secrets: it is for the log and the container's status, not for events.
func (r *Runner) Run(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id, podIP string, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		code, output, err := action.Exec(ctx, r.Engine, id, h.Exec.Command, 0)
		if err == nil && code != 0 {
			err = fmt.Errorf("command '%s' exited with %d", strings.Join(h.Exec.Command, " "), code)
		}
		if err != nil {
			return fmt.Errorf("Exec lifecycle hook (%v) for Container %q in Pod %q failed - error: %w, message: %q",
				h.Exec.Command, c.Name, lifecycle.Format(pod), err, output)
		}
	case h.HTTPGet != nil:
		if err := r.get(ctx, pod, c, podIP, h.HTTPGet); err != nil {
			return fmt.Errorf("HTTP lifecycle hook (%s) for Container %q in Pod %q failed - error: %w", h.HTTPGet.Path, c.Name, lifecycle.Format(pod), err)
		}
	case h.Sleep != nil:
		select {
		case <-r.Clock.After(time.Duration(h.Sleep.Seconds) * time.Second):
		case <-ctx.Done():
			return fmt.Errorf("Sleep lifecycle hook (%d) for Container %q in Pod %q failed - error: %w",
				h.Sleep.Seconds, c.Name, lifecycle.Format(pod), errors.New("container terminated before sleep hook finished"))
		}
	default:
		return fmt.Errorf("Cannot run handler: invalid handler: %v", h)
	}
	return nil
}

// get asks; any answer at all is a success, as upstream has it.
func (r *Runner) get(ctx context.Context, pod *corev1.Pod, c *corev1.Container, podIP string, get *corev1.HTTPGetAction) error {
	if get.Host == "" && podIP == "" {
		return errors.New("failed to find networking container: the pod has no address")
	}
	request, err := action.Request(ctx, get, c, podIP, "lifecycle")
	if err != nil {
		return err
	}
	err = r.do(request)
	if err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return err
	}
	plain := request.Clone(ctx)
	plain.URL.Scheme = "http"
	plain.Header.Del("Authorization")
	if err := r.do(plain); err != nil {
		return err
	}
	if r.Plain != nil {
		r.Plain(pod, plain.URL.Host)
	}
	return nil
}

func (r *Runner) do(request *http.Request) error {
	response, err := r.Client.Do(request)
	if err != nil {
		return err
	}
	// Reading a little lets the other side finish what it says.
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, action.MaxOutput))
	return errors.Join(err, response.Body.Close())
}
