package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

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
