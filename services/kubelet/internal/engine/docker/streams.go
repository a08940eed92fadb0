package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"go.uber.org/zap"

	"coracle.local/services/kubelet/internal/engine"
)

// execPolls and execPause bound the wait for what the engine records of a
// command a moment after the command's output shows it.
const (
	execPolls = 200
	execPause = 25 * time.Millisecond
)

// Exec runs a command in a container.
func (r *Runtime) Exec(ctx context.Context, id string, spec engine.ExecSpec, streams engine.Streams) (int, error) {
	exec, err := r.calls.execCreate(ctx, id, container.ExecOptions{
		Tty:          spec.TTY,
		AttachStdin:  streams.Stdin != nil,
		AttachStdout: true, // its end is how the end of the command is seen
		AttachStderr: !spec.TTY,
		Env:          environment(spec.Env),
		Cmd:          spec.Command,
	})
	if err != nil {
		return 0, err
	}
	conn, err := r.calls.execAttach(ctx, exec, spec.TTY)
	if err != nil {
		return 0, err
	}
	err = copyStreams(ctx, conn, spec.TTY, streams, func(ctx context.Context, s engine.Size) error {
		return r.calls.execResize(ctx, exec, s)
	})
	if ctx.Err() != nil {
		r.killExec(context.WithoutCancel(ctx), id, exec)
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id, err)
	}
	return r.exitCode(ctx, exec)
}

func (r *Runtime) exitCode(ctx context.Context, exec string) (int, error) {
	state, err := r.awaitExec(ctx, exec, func(s container.ExecInspect) bool { return !s.Running })
	return state.ExitCode, err
}

// awaitExec asks for an exec's state until it is as wanted.
func (r *Runtime) awaitExec(ctx context.Context, exec string, wanted func(container.ExecInspect) bool) (container.ExecInspect, error) {
	for range execPolls {
		state, err := r.calls.execInspect(ctx, exec)
		if err != nil || wanted(state) {
			return state, err
		}
		select {
		case <-ctx.Done():
			return container.ExecInspect{}, ctx.Err()
		case <-r.cfg.Clock.After(execPause):
		}
	}
	return container.ExecInspect{}, errors.New("command closed its output and does not end")
}

// killExec ends a command that nobody waits for any more. The engine has no
// call for it; the process is visible where kubelet and engine share a PID
// namespace, and is killed only if it is certain to be in that container.
func (r *Runtime) killExec(ctx context.Context, id, exec string) {
	// The engine may show a command's output before its process.
	state, err := r.awaitExec(ctx, exec, func(s container.ExecInspect) bool { return !s.Running || s.Pid > 1 })
	if err != nil || !state.Running {
		return
	}
	cgroups, err := os.ReadFile("/proc/" + strconv.Itoa(state.Pid) + "/cgroup")
	if err != nil || !strings.Contains(string(cgroups), id) {
		return
	}
	if err := syscall.Kill(state.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		r.log.Warn("abandoned exec keeps running", zap.String("container", id), zap.Error(err))
	}
}

// Attach connects to a container's first process.
func (r *Runtime) Attach(ctx context.Context, id string, tty bool, streams engine.Streams) error {
	c, err := r.calls.inspect(ctx, id)
	if err != nil {
		return err
	}
	if !c.State.Running {
		return fmt.Errorf("attach to container %s: %w", id, engine.ErrNotRunning)
	}
	conn, err := r.calls.attach(ctx, id, container.AttachOptions{
		Stream: true,
		Stdin:  streams.Stdin != nil,
		Stdout: true,
		Stderr: !tty,
	})
	if err != nil {
		return err
	}
	err = copyStreams(ctx, conn, tty, streams, func(ctx context.Context, s engine.Size) error {
		return r.calls.resize(ctx, id, s)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", id, err)
	}
	return nil
}

// copyStreams connects the caller's streams with the engine's connection
// until the output ends or ctx does, and closes the connection.
func copyStreams(ctx context.Context, conn types.HijackedResponse, tty bool, s engine.Streams, resize func(context.Context, engine.Size) error) error {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, conn.Close)()
	if tty && s.Resize != nil {
		go followSizes(ctx, s.Resize, resize)
	}
	if s.Stdin != nil {
		go func() {
			// It ends with the input, or with the connection at the latest when
			// something is read. Its errors show in the output's end.
			_, _ = io.Copy(conn.Conn, s.Stdin)
			_ = conn.CloseWrite()
		}()
	}
	stdout, stderr := s.Stdout, s.Stderr
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	var err error
	if tty {
		_, err = io.Copy(stdout, conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, conn.Reader)
	}
	return err
}

// followSizes hands terminal sizes on. A size that comes too early or too late
// is lost, which a terminal can bear.
func followSizes(ctx context.Context, sizes <-chan engine.Size, resize func(context.Context, engine.Size) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_ = resize(ctx, size)
		}
	}
}
