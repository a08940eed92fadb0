package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

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

// dialIn dials the loopback address of another network namespace. The thread
// that enters it is this goroutine's alone while there; sockets stay in the
// namespace they were made in.
func dialIn(ctx context.Context, netns string, port int32) (*net.TCPConn, error) {
	target, err := os.Open(netns)
	if err != nil {
		return nil, err
	}
	defer func() { _ = target.Close() }()
	type dialed struct {
		conn net.Conn
		err  error
	}
	result := make(chan dialed, 1)
	go func() {
		// Never unlocked: should the way back fail, the thread ends with the
		// goroutine instead of serving others in the wrong namespace.
		runtime.LockOSThread()
		conn, err := enterAndDial(ctx, target, port)
		result <- dialed{conn, err}
	}()
	r := <-result
	if r.err != nil {
		return nil, r.err
	}
	return r.conn.(*net.TCPConn), nil
}

func enterAndDial(ctx context.Context, target *os.File, port int32) (net.Conn, error) {
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter network namespace: %w", err)
	}
	var dialer net.Dialer
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
