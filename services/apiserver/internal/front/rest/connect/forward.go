package connect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"coracle.local/services/apiserver/internal/front/rest/query"
)

// Protocols of port forwarding: SPDY's, and SPDY tunnelled through a WebSocket.
const (
	forwardProtocol = "portforward.k8s.io"
	tunnelProtocol  = "SPDY/3.1+portforward.k8s.io"
)

// PortForward forwards connections of a client to ports of a pod.
func (c *Connector) PortForward(w http.ResponseWriter, r *http.Request, namespace, name string, values url.Values) error {
	pod, err := c.Objects.Pod(r.Context(), namespace, name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	if err := upgrade(r); err != nil {
		return err
	}
	switch {
	case slices.Contains(protocols(r), tunnelProtocol):
		c.tunnel(w, r, pod)
	case wsstream.IsWebSocketRequest(r):
		o, err := query.ForPortForward(values)
		if err != nil {
			return err
		}
		if len(o.Ports) == 0 {
			return apierrors.NewBadRequest(`query parameter "ports" is required`)
		}
		c.forwardPorts(w, r, pod, o.Ports)
	default:
		c.forwardSPDY(w, r, pod)
	}
	return nil
}

func (c *Connector) forwardSPDY(w http.ResponseWriter, r *http.Request, pod *corev1.Pod) {
	if _, err := httpstream.Handshake(r, w, []string{forwardProtocol}); err != nil {
		return // the client was told
	}
	streams := newPairs(r.Context())
	defer streams.cancel()
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, streams.opened)
	if conn == nil {
		return // the client was told
	}
	c.forward(conn, streams, pod)
}

// tunnel speaks SPDY inside a WebSocket.
func (c *Connector) tunnel(w http.ResponseWriter, r *http.Request, pod *corev1.Pod) {
	websocket.Server{
		Handshake: func(config *websocket.Config, _ *http.Request) error {
			config.Protocol = []string{tunnelProtocol}
			return nil
		},
		Handler: func(ws *websocket.Conn) {
			ws.PayloadType = websocket.BinaryFrame
			streams := newPairs(r.Context())
			defer streams.cancel()
			conn, err := spdy.NewServerConnection(ws, streams.opened)
			if err != nil {
				return
			}
			c.forward(conn, streams, pod)
		},
	}.ServeHTTP(w, r)
}

// forward serves pairs of streams until the connection ends.
func (c *Connector) forward(conn httpstream.Connection, streams *pairs, pod *corev1.Pod) {
	defer func() { _ = conn.Close() }()
	conn.SetIdleTimeout(streamIdle)
	for {
		select {
		case <-conn.CloseChan():
			return
		case <-streams.ctx.Done():
			return
		case p := <-streams.complete:
			go func() {
				c.forwardPair(streams.ctx, pod, p)
				conn.RemoveStreams(p.data, p.errors)
			}()
		}
	}
}

// pair is a connection's data, and where its error is told.
type pair struct {
	port         int32
	data, errors httpstream.Stream
	sent         []<-chan struct{}
	late         *time.Timer
}

// pairs puts the streams that a client opens together.
type pairs struct {
	ctx      context.Context
	cancel   context.CancelFunc
	complete chan *pair

	mu   sync.Mutex
	open map[string]*pair
}

func newPairs(ctx context.Context) *pairs {
	ctx, cancel := context.WithCancel(ctx)
	return &pairs{ctx: ctx, cancel: cancel, complete: make(chan *pair), open: map[string]*pair{}}
}

// opened takes a new stream, or refuses it.
func (s *pairs) opened(stream httpstream.Stream, sent <-chan struct{}) error {
	text := stream.Headers().Get("port")
	if text == "" {
		return errors.New(`"port" header is required`)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return fmt.Errorf("unable to parse %q as a port: %w", text, err)
	}
	if port == 0 {
		return fmt.Errorf("port %q must be > 0", text)
	}
	kind := stream.Headers().Get("streamType")
	if kind != "data" && kind != "error" {
		return fmt.Errorf("invalid stream type %q", kind)
	}
	p, err := s.add(replied{stream, sent}, kind, int32(port))
	if err != nil || p == nil {
		return err
	}
	// The library waits for this function before it takes further frames.
	go s.hand(p)
	return nil
}

// hand gives a pair to be served, once the client has heard that it has both
// streams: what ends before that is an error that says nothing to it.
func (s *pairs) hand(p *pair) {
	for _, sent := range p.sent {
		select {
		case <-sent:
		case <-s.ctx.Done():
			return
		}
	}
	select {
	case s.complete <- p:
	case <-s.ctx.Done():
	}
}

// add puts a stream to its pair, and returns the pair once it is complete.
func (s *pairs) add(stream replied, kind string, port int32) (*pair, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := requestID(stream, kind)
	p := s.open[id]
	if p == nil {
		p = &pair{port: port}
		p.late = time.AfterFunc(streamCreation, func() { s.drop(id, stream.Stream) })
		s.open[id] = p
	}
	half := &p.data
	if kind == "error" {
		half = &p.errors
	}
	if *half != nil {
		return nil, fmt.Errorf("%s stream already assigned", kind)
	}
	*half = stream.Stream
	p.sent = append(p.sent, stream.sent)
	if p.data == nil || p.errors == nil {
		return nil, nil
	}
	p.late.Stop()
	delete(s.open, id)
	return p, nil
}

// drop gives up on a pair of which only one stream came.
func (s *pairs) drop(id string, stream httpstream.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[id] != nil {
		delete(s.open, id)
		_ = stream.Reset()
	}
}

// requestID tells streams of one connection. The oldest clients give none: they
// open the error stream first and the other right after it.
func requestID(stream httpstream.Stream, kind string) string {
	if id := stream.Headers().Get("requestID"); id != "" {
		return id
	}
	n := int(stream.Identifier())
	if kind == "data" {
		n -= 2
	}
	return strconv.Itoa(n)
}

func (c *Connector) forwardPair(ctx context.Context, pod *corev1.Pod, p *pair) {
	defer func() {
		_ = p.data.Close()
		_ = p.errors.Close()
	}()
	if err := c.splice(ctx, pod, p.port, p.data); err != nil {
		_, _ = fmt.Fprintf(p.errors, "error forwarding port %d to pod %s, uid %v: %v", p.port, pod.Name, pod.UID, err)
		// Nobody reads what the client may still send.
		_ = p.data.Reset()
	}
}

// splice joins a client's stream with a port of the pod until both have ended.
func (c *Connector) splice(ctx context.Context, pod *corev1.Pod, port int32, near io.ReadWriter) error {
	far, err := c.backends().DialPod(ctx, pod, port)
	if err != nil {
		return err
	}
	defer func() { _ = far.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = far.Close() })
	defer stop()
	go func() {
		// The client may say its last and still listen.
		_, _ = io.Copy(far, near)
		if half, ok := far.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err = io.Copy(near, far)
	if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

// forwardPorts serves the older WebSocket protocol: two channels for each port
// of the query, one connection each.
func (c *Connector) forwardPorts(w http.ResponseWriter, r *http.Request, pod *corev1.Pod, ports []int32) {
	var channels []wsstream.ChannelType
	for range ports {
		channels = append(channels, wsstream.ReadWriteChannel, wsstream.WriteChannel)
	}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		"":                         {Binary: true, Channels: channels},
		"v4.channel.k8s.io":        {Binary: true, Channels: channels},
		"v4.base64.channel.k8s.io": {Channels: channels},
	})
	conn.SetIdleTimeout(streamIdle)
	_, streams, err := conn.Open(w, r)
	if err != nil {
		return // the client was told
	}
	defer func() { _ = conn.Close() }()
	var all sync.WaitGroup
	for i, port := range ports {
		data, errs := streams[2*i], streams[2*i+1]
		// Each channel begins with its port.
		name := binary.LittleEndian.AppendUint16(nil, uint16(port))
		_, _ = data.Write(name)
		_, _ = errs.Write(name)
		all.Go(func() {
			if err := c.splice(r.Context(), pod, port, data); err != nil {
				text := fmt.Sprintf("error forwarding port %d to pod %s, uid %v: %v", port, pod.Name, pod.UID, err)
				_, _ = io.Copy(errs, strings.NewReader(text))
			}
			_ = data.Close()
			_ = errs.Close()
		})
	}
	all.Wait()
}
