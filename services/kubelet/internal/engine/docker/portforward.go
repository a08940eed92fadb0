package docker

import (
	"context"
	"fmt"
	"io"

	"coracle.local/services/kubelet/internal/engine"
)

// PortForward connects conn with a port in the sandbox.
func (r *Runtime) PortForward(ctx context.Context, sandboxID string, port int32, conn io.ReadWriter) error {
	c, err := r.calls.inspect(ctx, sandboxID)
	if err != nil {
		return err
	}
	netns := networkSandbox(c).NetNS
	if netns == "" {
		return fmt.Errorf("forward to sandbox %s: %w", sandboxID, engine.ErrNotRunning)
	}
	pod, err := dialIn(ctx, netns, port)
	if err != nil {
		return fmt.Errorf("failed to connect to localhost:%d inside sandbox %s: %w", port, sandboxID, err)
	}
	defer func() { _ = pod.Close() }()
	defer context.AfterFunc(ctx, func() { _ = pod.Close() })()
	go func() {
		// The pod may still answer after the client has said all; its answer's
		// end is the end. Both errors mean that the other direction ends, too.
		_, _ = io.Copy(pod, conn)
		_ = pod.CloseWrite()
	}()
	_, err = io.Copy(conn, pod)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
