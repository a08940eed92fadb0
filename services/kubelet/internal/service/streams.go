package service

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/reach"
)

// chunk bounds one message's data, in bytes.
const chunk = 32 << 10

// sender sends output of several streams over one; a gRPC stream takes one
// message at a time.
type sender struct {
	mu   sync.Mutex
	send func(b []byte, which kubeletv1.Stream) error
}

func serialize(send func([]byte, kubeletv1.Stream) error) *sender { return &sender{send: send} }

// writer is one of the streams.
func (s *sender) writer(which kubeletv1.Stream) *streamWriter { return &streamWriter{s, which} }

type streamWriter struct {
	*sender
	which kubeletv1.Stream
}

func (w *streamWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for sent := 0; sent < len(p); {
		n := min(chunk, len(p)-sent)
		if err := w.send(p[sent:sent+n:sent+n], w.which); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(p), nil
}

// orNothing keeps a nil writer from becoming a non-nil interface.
func orNothing(w *streamWriter) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

// input is what exec's and attach's messages from the client have in common.
type input interface {
	GetStdin() []byte
	GetStdinClosed() bool
	GetResize() *kubeletv1.TerminalSize
}

// session turns a client's messages into a process's input.
type session struct {
	stdin  *io.PipeReader
	resize chan engine.Size
}

// listen reads messages until the client is done. The process's input is
// broken when the client goes away; whether it is closed when the client closes
// it is the caller's choice.
func listen[T input](ctx context.Context, recv func() (T, error), closes bool) *session {
	r, w := io.Pipe()
	s := &session{stdin: r, resize: make(chan engine.Size, 1)}
	end := func() {
		if closes {
			_ = w.Close() // always nil
		}
	}
	go func() {
		for {
			m, err := recv()
			switch {
			case errors.Is(err, io.EOF):
				end()
				return
			case err != nil:
				_ = w.CloseWithError(err) // always nil
				return
			case m.GetResize() != nil:
				s.resized(ctx, m.GetResize())
			case m.GetStdinClosed():
				end()
			default:
				if _, err := w.Write(m.GetStdin()); err != nil && ctx.Err() != nil {
					return
				}
			}
		}
	}()
	return s
}

// resized passes on the newest size only.
func (s *session) resized(ctx context.Context, size *kubeletv1.TerminalSize) {
	next := engine.Size{Width: uint16(size.GetWidth()), Height: uint16(size.GetHeight())}
	for {
		select {
		case s.resize <- next:
			return
		case <-s.resize: // one that nobody has read yet
		case <-ctx.Done():
			return
		}
	}
}

// wanted are the streams of a start message.
type wanted interface {
	GetStdin() bool
	GetStdout() bool
	GetStderr() bool
	GetTty() bool
}

func (s *session) streams(w wanted, out *sender) engine.Streams {
	var x engine.Streams
	if w.GetStdin() {
		x.Stdin = s.stdin
	}
	if w.GetStdout() || w.GetTty() {
		x.Stdout = out.writer(kubeletv1.Stream_STREAM_STDOUT)
	}
	if w.GetStderr() && !w.GetTty() {
		x.Stderr = out.writer(kubeletv1.Stream_STREAM_STDERR)
	}
	if w.GetTty() {
		x.Resize = s.resize
	}
	return x
}

// Exec runs a command in a container.
func (s *Service) Exec(stream grpc.BidiStreamingServer[kubeletv1.ExecRequest, kubeletv1.ExecResponse]) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	start := m.GetStart()
	if start == nil {
		return apierrors.NewBadRequest("the first message must be start")
	}
	p, err := s.find(start.GetPod())
	if err != nil {
		return err
	}
	id, c, err := reach.Running(p, start.GetContainer())
	if err != nil {
		return err
	}
	if len(start.GetCommand()) == 0 {
		return apierrors.NewBadRequest("you must specify at least one command for the container")
	}
	out := serialize(func(b []byte, which kubeletv1.Stream) error {
		if which == kubeletv1.Stream_STREAM_STDERR {
			return stream.Send(&kubeletv1.ExecResponse{Message: &kubeletv1.ExecResponse_Stderr{Stderr: b}})
		}
		return stream.Send(&kubeletv1.ExecResponse{Message: &kubeletv1.ExecResponse_Stdout{Stdout: b}})
	})
	in := listen(stream.Context(), stream.Recv, true)
	defer func() { _ = in.stdin.Close() }() // always nil
	code, err := s.cfg.Engine.Exec(stream.Context(), id, engine.ExecSpec{Command: start.GetCommand(), TTY: start.GetTty()}, in.streams(start, out))
	if err != nil {
		return reach.Explain(err, c.Name)
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	return stream.Send(&kubeletv1.ExecResponse{Message: &kubeletv1.ExecResponse_Exit{Exit: &kubeletv1.Exit{Code: int32(code)}}})
}

// Attach connects with a container's first process.
func (s *Service) Attach(stream grpc.BidiStreamingServer[kubeletv1.AttachRequest, kubeletv1.AttachResponse]) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	start := m.GetStart()
	if start == nil {
		return apierrors.NewBadRequest("the first message must be start")
	}
	p, err := s.find(start.GetPod())
	if err != nil {
		return err
	}
	id, c, err := reach.Running(p, start.GetContainer())
	if err != nil {
		return err
	}
	out := serialize(func(b []byte, which kubeletv1.Stream) error {
		if which == kubeletv1.Stream_STREAM_STDERR {
			return stream.Send(&kubeletv1.AttachResponse{Message: &kubeletv1.AttachResponse_Stderr{Stderr: b}})
		}
		return stream.Send(&kubeletv1.AttachResponse{Message: &kubeletv1.AttachResponse_Stdout{Stdout: b}})
	})
	// Where the container's input outlives a caller, the caller's end is not
	// its end; and engines end the output with the input.
	in := listen(stream.Context(), stream.Recv, c.StdinOnce)
	defer func() { _ = in.stdin.Close() }() // always nil
	return reach.Explain(s.cfg.Engine.Attach(stream.Context(), id, c.TTY, in.streams(start, out)), c.Name)
}

// PortForward connects with a port of the pod.
func (s *Service) PortForward(stream grpc.BidiStreamingServer[kubeletv1.PortForwardRequest, kubeletv1.PortForwardResponse]) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	start := m.GetStart()
	if start == nil {
		return apierrors.NewBadRequest("the first message must be start")
	}
	p, err := s.find(start.GetPod())
	if err != nil {
		return err
	}
	id, err := reach.Sandbox(p)
	if err != nil {
		return err
	}
	return reach.Explain(s.cfg.Engine.PortForward(stream.Context(), id, start.GetPort(), &connection{stream: stream}), p.Pod.Name)
}

// connection is a stream of data messages as bytes. One goroutine may read
// while another writes.
type connection struct {
	stream grpc.BidiStreamingServer[kubeletv1.PortForwardRequest, kubeletv1.PortForwardResponse]
	rest   []byte
}

func (c *connection) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		m, err := c.stream.Recv()
		if err != nil {
			return 0, err // io.EOF when the client has said all
		}
		c.rest = m.GetData()
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *connection) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); {
		n := min(chunk, len(p)-sent)
		if err := c.stream.Send(&kubeletv1.PortForwardResponse{Data: p[sent : sent+n : sent+n]}); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(p), nil
}
