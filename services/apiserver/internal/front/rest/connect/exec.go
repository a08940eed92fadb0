package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/apistatus"
	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
	"coracle.local/services/apiserver/internal/front/rest/query"
)

// Exec runs a command in a container.
func (c *Connector) Exec(w http.ResponseWriter, r *http.Request, namespace, name string, values url.Values) error {
	o := query.ForExec(values)
	want := wants{stdin: o.Stdin, stdout: o.Stdout, stderr: o.Stderr && !o.TTY, tty: o.TTY}
	return c.terminal(w, r, namespace, name, o.Container, want, func(ctx context.Context, p *place) (remote, error) {
		call, err := p.kubelet.Exec(ctx)
		if err != nil {
			return nil, err
		}
		return &execRemote{call: call, command: o.Command}, call.Send(&kubeletv1.ExecRequest{Message: &kubeletv1.ExecRequest_Start_{Start: &kubeletv1.ExecRequest_Start{
			Pod: p.ref, Container: p.container, Command: o.Command, Tty: want.tty, Stdin: want.stdin, Stdout: want.stdout, Stderr: want.stderr,
		}}})
	})
}

// Attach connects with a container's first process.
func (c *Connector) Attach(w http.ResponseWriter, r *http.Request, namespace, name string, values url.Values) error {
	o := query.ForAttach(values)
	want := wants{stdin: o.Stdin, stdout: o.Stdout, stderr: o.Stderr && !o.TTY, tty: o.TTY}
	return c.terminal(w, r, namespace, name, o.Container, want, func(ctx context.Context, p *place) (remote, error) {
		call, err := p.kubelet.Attach(ctx)
		if err != nil {
			return nil, err
		}
		return &attachRemote{call: call}, call.Send(&kubeletv1.AttachRequest{Message: &kubeletv1.AttachRequest_Start_{Start: &kubeletv1.AttachRequest_Start{
			Pod: p.ref, Container: p.container, Tty: want.tty, Stdin: want.stdin, Stdout: want.stdout, Stderr: want.stderr,
		}}})
	})
}

// remote is the kubelet's end of a session. Send methods are for one goroutine
// at a time.
type remote interface {
	stdin(data []byte) error
	stdinClosed() error
	resize(width, height uint32) error
	// receive waits for output; exit is set when the command ended by itself.
	receive() (stdout, stderr []byte, exit *kubeletv1.Exit, err error)
	// failure words an exit code.
	failure(code int32) string
}

// terminal connects a client with a container, both ways, until either ends.
func (c *Connector) terminal(w http.ResponseWriter, r *http.Request, namespace, name, container string, want wants, start func(context.Context, *place) (remote, error)) error {
	p, err := c.placed(r.Context(), namespace, name, container)
	if err != nil {
		return err
	}
	if err := upgrade(r); err != nil {
		return err
	}
	if err := want.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	far, err := start(ctx, p)
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the reason comes with receive
		return apistatus.FromGRPC(err)
	}
	near := open(w, r, want)
	if near == nil {
		return nil // the client was told why
	}
	defer near.close()
	// The client's end is the session's.
	go func() {
		select {
		case <-near.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	send(near, far, want)
	status := output(near, far)
	if ctx.Err() == nil {
		_ = near.end(status) // a client that is gone needs no end
	}
	return nil
}

// send passes input and sizes on. It returns at once; what it starts ends with
// the client's connection.
func send(near *session, far remote, want wants) {
	var mu sync.Mutex
	if want.stdin && near.stdin != nil {
		go func() {
			buffer := make([]byte, 32<<10)
			for {
				n, err := near.stdin.Read(buffer)
				mu.Lock()
				if n > 0 && far.stdin(append([]byte(nil), buffer[:n]...)) != nil {
					err = io.ErrClosedPipe
				}
				if err != nil {
					_ = far.stdinClosed() // a call that is over needs none
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		}()
	}
	go near.sizes(func(s size) {
		mu.Lock()
		defer mu.Unlock()
		_ = far.resize(uint32(s.Width), uint32(s.Height)) // as above
	})
}

// output passes the container's output on, and returns how it ended.
func output(near *session, far remote) *metav1.Status {
	for {
		stdout, stderr, exit, err := far.receive()
		switch {
		case errors.Is(err, io.EOF):
			return &metav1.Status{Status: metav1.StatusSuccess}
		case err != nil:
			status := apistatus.Of(apistatus.FromGRPC(err))
			return &status
		case exit.GetCode() != 0:
			return &metav1.Status{
				Status: metav1.StatusFailure, Reason: "NonZeroExitCode", Message: far.failure(exit.Code),
				Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: fmt.Sprint(exit.Code)}}},
			}
		case exit != nil:
			return &metav1.Status{Status: metav1.StatusSuccess}
		}
		if len(stdout) > 0 && near.stdout != nil {
			_, _ = near.stdout.Write(stdout) // the client's end is noticed elsewhere
		}
		if len(stderr) > 0 && near.stderr != nil {
			_, _ = near.stderr.Write(stderr)
		}
	}
}

type execRemote struct {
	call    kubeletv1.KubeletService_ExecClient
	command []string
}

func (e *execRemote) stdin(data []byte) error {
	return e.call.Send(&kubeletv1.ExecRequest{Message: &kubeletv1.ExecRequest_Stdin{Stdin: data}})
}

func (e *execRemote) stdinClosed() error {
	return e.call.Send(&kubeletv1.ExecRequest{Message: &kubeletv1.ExecRequest_StdinClosed{StdinClosed: true}})
}

func (e *execRemote) resize(width, height uint32) error {
	return e.call.Send(&kubeletv1.ExecRequest{Message: &kubeletv1.ExecRequest_Resize{Resize: &kubeletv1.TerminalSize{Width: width, Height: height}}})
}

func (e *execRemote) receive() (stdout, stderr []byte, exit *kubeletv1.Exit, err error) {
	m, err := e.call.Recv()
	return m.GetStdout(), m.GetStderr(), m.GetExit(), err
}

func (e *execRemote) failure(code int32) string {
	return fmt.Sprintf("command terminated with non-zero exit code: error executing command [%s], exit code %d", strings.Join(e.command, " "), code)
}

type attachRemote struct {
	call kubeletv1.KubeletService_AttachClient
}

func (a *attachRemote) stdin(data []byte) error {
	return a.call.Send(&kubeletv1.AttachRequest{Message: &kubeletv1.AttachRequest_Stdin{Stdin: data}})
}

func (a *attachRemote) stdinClosed() error {
	return a.call.Send(&kubeletv1.AttachRequest{Message: &kubeletv1.AttachRequest_StdinClosed{StdinClosed: true}})
}

func (a *attachRemote) resize(width, height uint32) error {
	return a.call.Send(&kubeletv1.AttachRequest{Message: &kubeletv1.AttachRequest_Resize{Resize: &kubeletv1.TerminalSize{Width: width, Height: height}}})
}

func (a *attachRemote) receive() (stdout, stderr []byte, exit *kubeletv1.Exit, err error) {
	m, err := a.call.Recv()
	return m.GetStdout(), m.GetStderr(), nil, err
}

func (*attachRemote) failure(code int32) string { return fmt.Sprintf("exit code %d", code) }
