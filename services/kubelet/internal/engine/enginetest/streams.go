package enginetest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"coracle.local/services/kubelet/internal/engine"
)

func testLogs(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	begin := time.Now().Add(-time.Minute)
	c := h.awaitExit(pod.PodUID, h.start(sandbox, h.spec(pod, "c", "lines", "6")))
	for _, test := range []struct {
		name     string
		opts     engine.LogOptions
		out, err string
	}{
		{"all", engine.LogOptions{Tail: -1}, "line 1\nline 3\nline 5\n", "line 2\nline 4\nline 6\n"},
		{"follow what has ended", engine.LogOptions{Tail: -1, Follow: true}, "line 1\nline 3\nline 5\n", "line 2\nline 4\nline 6\n"},
		{"tail", engine.LogOptions{Tail: 0}, "", ""},
		{"since the past", engine.LogOptions{Tail: -1, Since: begin}, "line 1\nline 3\nline 5\n", "line 2\nline 4\nline 6\n"},
		{"since the end", engine.LogOptions{Tail: -1, Since: c.FinishedAt.Add(time.Minute)}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, err bytes.Buffer
			h.check(h.Logs(h.ctx, c.ID, test.opts, &out, &err))
			if out.String() != test.out || err.String() != test.err {
				t.Errorf("stdout %q, stderr %q", out.String(), err.String())
			}
		})
	}
	for _, test := range []struct {
		name string
		opts engine.LogOptions
		want int
	}{
		{"tail counts both streams", engine.LogOptions{Tail: 4}, 4 * len("line 1\n")},
		{"limit counts both streams", engine.LogOptions{Tail: -1, LimitBytes: 10}, 10},
		{"limit beyond", engine.LogOptions{Tail: -1, LimitBytes: 1000}, 6 * len("line 1\n")},
	} {
		t.Run(test.name, func(t *testing.T) {
			var both bytes.Buffer
			h.check(h.Logs(h.ctx, c.ID, test.opts, &both, &both))
			if both.Len() != test.want {
				t.Errorf("%d bytes: %q", both.Len(), both.String())
			}
		})
	}
	var stamped bytes.Buffer
	h.check(h.Logs(h.ctx, c.ID, engine.LogOptions{Tail: -1, Timestamps: true}, &stamped, nil))
	for line := range strings.Lines(stamped.String()) {
		stamp, rest, _ := strings.Cut(line, " ")
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil || !strings.HasPrefix(rest, "line ") {
			t.Errorf("line %q: %v", line, err)
		}
	}
	// The log of an earlier attempt stays readable beside the next.
	next := h.spec(pod, "c", "exit", "0")
	next.Attempt = 1
	h.awaitExit(pod.PodUID, h.start(sandbox, next))
	var previous bytes.Buffer
	h.check(h.Logs(h.ctx, c.ID, engine.LogOptions{Tail: -1}, &previous, nil))
	if previous.Len() == 0 {
		t.Error("the previous log is gone")
	}
}

func testLogsFollowed(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	id := h.start(sandbox, h.spec(pod, "c", "wait"))
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- h.Logs(h.ctx, id, engine.LogOptions{Tail: -1, Follow: true}, writer, writer)
		_ = writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Errorf("first line %q", lines.Text())
	}
	h.check(h.StopContainer(h.ctx, id, patience))
	if lines.Scan() {
		t.Errorf("second line %q", lines.Text())
	}
	h.check(<-done)

	// The caller going away is no error either.
	again := h.spec(pod, "c", "wait")
	again.Attempt = 1
	id = h.start(sandbox, again)
	h.awaitReady(id)
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	h.check(h.Logs(ctx, id, engine.LogOptions{Tail: -1, Follow: true}, writerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	}), nil))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func testExec(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	id := h.start(sandbox, h.spec(pod, "c", "wait"))
	for _, test := range []struct {
		name     string
		command  []string
		stdin    io.Reader
		code     int
		out, err string
	}{
		{"code", []string{Guest, "exit", "5"}, nil, 5, "", ""},
		{"streams", []string{Guest, "lines", "2"}, nil, 0, "line 1\n", "line 2\n"},
		{"stdin", []string{Guest, "copy"}, strings.NewReader("some input"), 0, "some input", "done\n"},
		{"failure", []string{Guest, "cat", "/absent"}, nil, 1, "", "open /absent: no such file or directory\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code, err := h.Exec(h.ctx, id, engine.ExecSpec{Command: test.command}, engine.Streams{Stdin: test.stdin, Stdout: &out, Stderr: &errs})
			if err != nil || code != test.code || out.String() != test.out || errs.String() != test.err {
				t.Errorf("code %d, error %v, stdout %q, stderr %q", code, err, out.String(), errs.String())
			}
		})
	}
	large := strings.Repeat("0123456789abcdef", 1<<16)
	var out bytes.Buffer
	code, err := h.Exec(h.ctx, id, engine.ExecSpec{Command: []string{Guest, "copy"}},
		engine.Streams{Stdin: strings.NewReader(large), Stdout: &out})
	if err != nil || code != 0 || out.String() != large {
		t.Errorf("a megabyte: code %d, error %v, %d bytes came back", code, err, out.Len())
	}
	if code, err = h.Exec(h.ctx, id, engine.ExecSpec{Command: []string{"/absent"}}, engine.Streams{}); err == nil && code == 0 {
		t.Error("an absent command succeeds")
	}
	h.check(h.StopContainer(h.ctx, id, patience))
	if _, err := h.Exec(h.ctx, id, engine.ExecSpec{Command: []string{Guest, "exit", "0"}}, engine.Streams{}); !errors.Is(err, engine.ErrNotRunning) {
		t.Errorf("exec in an ended container: %v", err)
	}
	if err := h.Attach(h.ctx, id, false, engine.Streams{}); !errors.Is(err, engine.ErrNotRunning) {
		t.Errorf("attach to an ended container: %v", err)
	}
}

func testExecTerminal(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	id := h.start(sandbox, h.spec(pod, "c", "wait"))
	input, typed := io.Pipe()
	shown, output := io.Pipe()
	sizes := make(chan engine.Size)
	done := make(chan error, 1)
	go func() {
		code, err := h.Exec(h.ctx, id, engine.ExecSpec{Command: []string{Guest, "terminal"}, TTY: true},
			engine.Streams{Stdin: input, Stdout: output, Resize: sizes})
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		_ = output.Close()
		done <- err
	}()
	lines := bufio.NewScanner(shown)
	for _, size := range []engine.Size{{Width: 101, Height: 42}, {Width: 80, Height: 25}} {
		sizes <- size
		want := fmt.Sprintf("size %dx%d", size.Width, size.Height)
		// A size takes effect a moment after it was handed over: ask until it
		// has, which the terminal echoes as well.
		ask := func() { _, _ = typed.Write([]byte("?\n")) }
		go ask()
		for lines.Scan() {
			text := strings.TrimSpace(lines.Text())
			if text == want {
				break
			}
			if strings.HasPrefix(text, "size") {
				go ask()
			}
		}
	}
	go func() { _, _ = typed.Write([]byte{4}) }() // end of input, as typed
	for lines.Scan() {
		continue
	}
	h.check(<-done)
}

func testExecAbandoned(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	id := h.start(sandbox, h.spec(pod, "c", "wait"))
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	_, err := h.Exec(ctx, id, engine.ExecSpec{Command: []string{Guest, "stubborn"}}, engine.Streams{
		Stdout: writerFunc(func(p []byte) (int, error) {
			cancel()
			return len(p), nil
		}),
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("abandoned: %v", err)
	}
	var out bytes.Buffer
	_, err = h.Exec(h.ctx, id, engine.ExecSpec{Command: []string{Guest, "processes"}}, engine.Streams{Stdout: &out})
	if err != nil || strings.Count(out.String(), Guest) != 2 {
		t.Errorf("%v, processes beside the first and this:\n%s", err, out.String())
	}
}

func testAttach(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	spec := h.spec(pod, "c", "copy")
	spec.Stdin, spec.StdinOnce = true, true
	id := h.start(sandbox, spec)
	var out, errs bytes.Buffer
	h.check(h.Attach(h.ctx, id, false, engine.Streams{Stdin: strings.NewReader("typed"), Stdout: &out, Stderr: &errs}))
	if out.String() != "typed" || errs.String() != "done\n" {
		t.Errorf("stdout %q, stderr %q", out.String(), errs.String())
	}
	if c := h.awaitExit(pod.PodUID, id); c.ExitCode != 0 {
		t.Errorf("after its input ended: %+v", c)
	}
}

func testPortForward(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	h.awaitReady(h.start(sandbox, h.spec(pod, "c", "serve", "127.0.0.1:9090")))
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- h.PortForward(h.ctx, sandbox.ID, 9090, far) }()
	lines := bufio.NewScanner(near)
	for _, word := range []string{"one", "two"} {
		if _, err := fmt.Fprintln(near, word); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != strings.ToUpper(word) {
			t.Errorf("%q is answered with %q", word, lines.Text())
		}
	}
	h.check(near.Close())
	h.check(ignoreClosed(<-done))

	if err := h.PortForward(h.ctx, sandbox.ID, 9091, &bytes.Buffer{}); err == nil {
		t.Error("a port where nobody listens is forwarded")
	}
}

// ignoreClosed forgives a connection that the test itself has closed.
func ignoreClosed(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}
