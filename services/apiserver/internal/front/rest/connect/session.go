package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Upstream's patience: with a client that opens its streams, and with one that
// says nothing.
const (
	streamCreation = 30 * time.Second
	streamIdle     = 4 * time.Hour
)

// wants are the streams of a session.
type wants struct{ stdin, stdout, stderr, tty bool }

func (o wants) check() error {
	if !o.stdin && !o.stdout && !o.stderr {
		return apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")
	}
	return nil
}

// session is a client's end of a command or a terminal.
type session struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	resize         io.Reader // JSON of sizes; nil without
	// gone ends when the client does.
	gone <-chan struct{}
	// end tells the client how it ended.
	end   func(*metav1.Status) error
	close func()
}

// size is a terminal's, as clients send it.
type size struct{ Width, Height uint16 }

// sizes calls resized with each size that the client sends, until it is gone.
func (s *session) sizes(resized func(size)) {
	if s.resize == nil {
		return
	}
	decoder := json.NewDecoder(s.resize)
	for {
		var one size
		if decoder.Decode(&one) != nil {
			// Whoever writes must not wait for a reader that is gone.
			_, _ = io.Copy(io.Discard, s.resize)
			return
		}
		resized(one)
	}
}

// open makes a session of the request's connection. It returns nil if that
// failed, of which the client was told.
func open(w http.ResponseWriter, r *http.Request, o wants) *session {
	if wsstream.IsWebSocketRequest(r) {
		return overWebSocket(w, r, o)
	}
	return overSPDY(w, r, o)
}

// Channels of a WebSocket session.
const (
	stdinChannel = iota
	stdoutChannel
	stderrChannel
	errorChannel
	resizeChannel
)

func overWebSocket(w http.ResponseWriter, r *http.Request, o wants) *session {
	channels := []wsstream.ChannelType{wsstream.IgnoreChannel, wsstream.IgnoreChannel, wsstream.IgnoreChannel, wsstream.WriteChannel, wsstream.ReadChannel}
	if o.stdin {
		channels[stdinChannel] = wsstream.ReadChannel
	}
	if o.stdout {
		channels[stdoutChannel] = wsstream.WriteChannel
	}
	if o.stderr {
		channels[stderrChannel] = wsstream.WriteChannel
	}
	binary, text := wsstream.ChannelProtocolConfig{Binary: true, Channels: channels}, wsstream.ChannelProtocolConfig{Channels: channels}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		"": binary, "channel.k8s.io": binary, "v4.channel.k8s.io": binary, "v5.channel.k8s.io": binary,
		"base64.channel.k8s.io": text, "v4.base64.channel.k8s.io": text,
	})
	conn.SetIdleTimeout(streamIdle)
	protocol, streams, err := conn.Open(w, r)
	if err != nil {
		return nil
	}
	// An empty message tells the client that it is connected.
	for _, channel := range []int{stdoutChannel, stderrChannel, errorChannel} {
		if channels[channel] == wsstream.WriteChannel {
			_, _ = streams[channel].Write(nil)
			break
		}
	}
	gone := make(chan struct{})
	s := &session{
		stdin: streams[stdinChannel], stdout: streams[stdoutChannel], stderr: streams[stderrChannel],
		resize: untilEnd(streams[resizeChannel], gone), gone: gone,
		end: plainEnd(streams[errorChannel]), close: func() { _ = conn.Close() },
	}
	if slices.Contains([]string{"v4.channel.k8s.io", "v5.channel.k8s.io", "v4.base64.channel.k8s.io"}, protocol) {
		s.end = statusEnd(streams[errorChannel])
	}
	return s
}

// untilEnd closes a channel when the reader ends. Clients never close the
// channel for sizes: it ends with the connection.
func untilEnd(r io.Reader, ended chan<- struct{}) io.Reader {
	in, out := io.Pipe()
	go func() {
		defer close(ended)
		_, err := io.Copy(out, r)
		_ = out.CloseWithError(err)
	}()
	return in
}

// plainEnd writes an error as text, as the oldest protocols want it.
func plainEnd(w io.Writer) func(*metav1.Status) error {
	return func(s *metav1.Status) error {
		if s.Status == metav1.StatusSuccess {
			return nil
		}
		_, err := io.WriteString(w, s.Message)
		return err
	}
}

// statusEnd writes a Status, which carries an exit code.
func statusEnd(w io.Writer) func(*metav1.Status) error {
	return func(s *metav1.Status) error {
		raw, err := json.Marshal(s)
		if err != nil {
			return err
		}
		_, err = w.Write(raw)
		return err
	}
}

// spdyProtocols are those of remote commands over SPDY, the best first.
var spdyProtocols = []string{"v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"}

// replied is a stream that a client opened, and when it has heard that it may
// use it.
type replied struct {
	httpstream.Stream
	sent <-chan struct{}
}

func overSPDY(w http.ResponseWriter, r *http.Request, o wants) *session {
	protocol, err := httpstream.Handshake(r, w, spdyProtocols)
	if err != nil {
		return nil
	}
	opened := make(chan replied)
	ctx, cancel := context.WithCancel(r.Context())
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, sent <-chan struct{}) error {
		select {
		case opened <- replied{s, sent}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if conn == nil {
		cancel()
		return nil
	}
	conn.SetIdleTimeout(streamIdle)
	streams, err := await(ctx, opened, expected(protocol, o))
	// Streams that come later are refused.
	cancel()
	if err != nil {
		_ = conn.Close()
		return nil
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		<-conn.CloseChan()
	}()
	s := &session{gone: gone, close: func() { _ = conn.Close() }, end: plainEnd(streams["error"])}
	if protocol == spdyProtocols[0] {
		s.end = statusEnd(streams["error"])
	}
	// An interface that holds no stream must be nil itself.
	if stream := streams["stdin"]; stream != nil {
		s.stdin = stream
	}
	if stream := streams["stdout"]; stream != nil {
		s.stdout = stream
	}
	if stream := streams["stderr"]; stream != nil {
		s.stderr = stream
	}
	if stream := streams["resize"]; stream != nil {
		s.resize = stream
	}
	return s
}

// expected names the streams that a client opens.
func expected(protocol string, o wants) []string {
	names := []string{"error"}
	if o.stdin {
		names = append(names, "stdin")
	}
	if o.stdout {
		names = append(names, "stdout")
	}
	if o.stderr {
		names = append(names, "stderr")
	}
	if o.tty && (protocol == "v3.channel.k8s.io" || protocol == "v4.channel.k8s.io") {
		names = append(names, "resize")
	}
	return names
}

func await(ctx context.Context, opened <-chan replied, names []string) (map[string]httpstream.Stream, error) {
	late := time.NewTimer(streamCreation)
	defer late.Stop()
	streams := map[string]httpstream.Stream{}
	for len(streams) < len(names) {
		select {
		case s := <-opened:
			name := s.Headers().Get("streamType")
			if !slices.Contains(names, name) {
				return nil, fmt.Errorf("unexpected stream type: %q", name)
			}
			<-s.sent
			streams[name] = s.Stream
		case <-late.C:
			return nil, errors.New("timed out waiting for client to create streams")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return streams, nil
}
