package connect

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"google.golang.org/protobuf/types/known/timestamppb"

	"coracle.local/libs/apistatus"
	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
	"coracle.local/services/apiserver/internal/front/rest/query"
)

// quiet is how long the answer to a follower waits for the first line before it
// begins, so that a refusal still gets the code that it deserves.
const quiet = 500 * time.Millisecond

// Logs copies a container's log to the client.
func (c *Connector) Logs(w http.ResponseWriter, r *http.Request, namespace, name string, values url.Values) error {
	o, err := query.ForLog(values, name)
	if err != nil {
		return err
	}
	p, err := c.find(r.Context(), namespace, name, o.Container)
	if err != nil {
		return err
	}
	if p.kubelet == nil {
		// Nothing was written yet, which is no error.
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	log, err := p.kubelet.Logs(ctx, logsRequest(p, o))
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	if wsstream.IsWebSocketRequest(r) {
		reader := wsstream.NewReader(&logReader{stream: log}, true, wsstream.NewDefaultReaderProtocols())
		// The client's going away is no matter.
		_ = reader.Copy(w, r)
		return nil
	}
	return copyLog(w, log, o.Follow)
}

func logsRequest(p *place, o *corev1.PodLogOptions) *kubeletv1.LogsRequest {
	q := &kubeletv1.LogsRequest{
		Pod: p.ref, Container: p.container, Previous: o.Previous, Follow: o.Follow, Timestamps: o.Timestamps,
		SinceSeconds: o.SinceSeconds, TailLines: o.TailLines, LimitBytes: o.LimitBytes,
	}
	if o.SinceTime != nil {
		q.SinceTime = timestamppb.New(o.SinceTime.Time)
	}
	if o.Stream != nil {
		switch *o.Stream {
		case corev1.LogStreamStdout:
			q.Stream = kubeletv1.Stream_STREAM_STDOUT
		case corev1.LogStreamStderr:
			q.Stream = kubeletv1.Stream_STREAM_STDERR
		}
	}
	return q
}

// logStream is the kubelet's answer.
type logStream interface {
	Recv() (*kubeletv1.LogsResponse, error)
}

// first is the beginning of a log.
type first struct {
	part *kubeletv1.LogsResponse
	err  error
}

// copyLog sends the log as it comes. An error before its beginning is returned,
// a later one ends it.
func copyLog(w http.ResponseWriter, log logStream, follow bool) error {
	begun := make(chan first, 1)
	go func() {
		part, err := log.Recv()
		begun <- first{part, err}
	}()
	var f first
	flush := http.NewResponseController(w)
	begin := func() {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusOK)
	}
	if follow {
		timer := time.NewTimer(quiet)
		defer timer.Stop()
		select {
		case f = <-begun:
		case <-timer.C:
			begin()
			_ = flush.Flush() // what cannot be flushed comes later
			f = <-begun
			begin = func() {}
		}
	} else {
		f = <-begun
	}
	if f.err != nil && !errors.Is(f.err, io.EOF) {
		return apistatus.FromGRPC(f.err)
	}
	begin()
	for part, err := f.part, f.err; err == nil; part, err = log.Recv() {
		if _, err := w.Write(part.GetData()); err != nil {
			return nil
		}
		if follow {
			_ = flush.Flush()
		}
	}
	return nil
}

// logReader makes a reader of a log.
type logReader struct {
	stream logStream
	rest   []byte
}

func (l *logReader) Read(b []byte) (int, error) {
	for len(l.rest) == 0 {
		part, err := l.stream.Recv()
		if err != nil {
			return 0, err
		}
		l.rest = part.GetData()
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
