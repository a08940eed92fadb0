package stream

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/net/websocket"

	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/front/negotiate"
)

// Source is a watch of the cache.
type Source interface {
	// Next waits for the next event.
	Next(ctx context.Context) (cache.Event, error)
	// Pending tells whether Next would not wait.
	Pending() bool
}

// room is how much is gathered before it is sent on, while more is pending.
const room = 64 << 10

// Sender sends watches. It keeps buffers between events; use one for a server.
type Sender struct {
	buffers sync.Pool // of *[]byte
	// Sent, if set, hears of each event and its size.
	Sent func(e *Encoder, bytes int)
}

// Serve sends events until ctx ends, the client goes, or the source fails. The
// latter is told in the stream.
func (s *Sender) Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, source Source, e *Encoder) {
	if IsWebSocket(r) {
		e.unframed = true
		websocket.Handler(func(c *websocket.Conn) { s.overWebSocket(ctx, c, source, e) }).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", e.MediaType())
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	if flush.Flush() != nil {
		return
	}
	for {
		// While nothing happens the watch holds no buffer.
		ev, err := source.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		more := s.burst(ctx, w, source, e, ev, err)
		if flush.Flush() != nil || !more {
			return
		}
	}
}

// burst sends an event and all that are pending behind it.
func (s *Sender) burst(ctx context.Context, w http.ResponseWriter, source Source, e *Encoder, ev cache.Event, failed error) (more bool) {
	buffer, ok := s.buffers.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	defer func() {
		if cap(*buffer) <= 2*room {
			s.buffers.Put(buffer)
		}
	}()
	b := (*buffer)[:0]
	for {
		b, more = s.event(b, e, ev, failed)
		*buffer = b
		last := !more || !source.Pending()
		if len(b) >= room || last {
			if _, err := w.Write(b); err != nil {
				return false
			}
			b = b[:0]
		}
		if last {
			return more
		}
		if ev, failed = source.Next(ctx); ctx.Err() != nil {
			return false
		}
	}
}

// event encodes one event, or the error that ends the stream.
func (s *Sender) event(b []byte, e *Encoder, ev cache.Event, failed error) (out []byte, more bool) {
	before := len(b)
	if failed == nil {
		if b, failed = e.Append(b, ev); failed == nil {
			if s.Sent != nil {
				s.Sent(e, len(b)-before)
			}
			return b, true
		}
		b = b[:before]
	}
	if errors.Is(failed, cache.ErrClosed) {
		return b, false
	}
	out, err := e.Error(b, failed)
	if err != nil {
		return b[:before], false
	}
	return out, false
}

func (s *Sender) overWebSocket(ctx context.Context, c *websocket.Conn, source Source, e *Encoder) {
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// Clients have nothing to say: what they send is dropped, and their
		// end is ours.
		defer cancel()
		var dropped []byte
		for websocket.Message.Receive(c, &dropped) == nil {
		}
	}()
	for {
		ev, err := source.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		b, more := s.event(nil, e, ev, err)
		if len(b) > 0 {
			var message any = b
			if e.Output.Encoding == negotiate.JSON {
				message = string(b) // a text message, which browsers can read
			}
			if websocket.Message.Send(c, message) != nil {
				return
			}
		}
		if !more {
			return
		}
	}
}

// IsWebSocket tells whether a request asks to become a WebSocket.
func IsWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade")
}
