package respond

import (
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
)

// chunk is how much is sent at once, and the size beyond which an answer is
// worth compressing: upstream's.
const chunk = 128 << 10

// stream sends an answer in chunks. One that fits into a single chunk is sent
// plain and with its length; a longer one is compressed for clients that take
// it.
type stream struct {
	p      *Responder
	w      http.ResponseWriter
	gzip   bool
	buffer *[]byte
	zip    *gzip.Writer
	begun  bool
	err    error
}

func (p *Responder) stream(w http.ResponseWriter, r *http.Request, mediaType string) *stream {
	w.Header().Set("Content-Type", mediaType)
	b, ok := p.buffers.Get().(*[]byte)
	if !ok {
		made := make([]byte, 0, chunk)
		b = &made
	}
	*b = (*b)[:0]
	return &stream{p: p, w: w, gzip: takesGzip(r), buffer: b}
}

// write appends to the answer. Errors of the connection are kept until close.
func (s *stream) write(content []byte) {
	for s.err == nil {
		room := cap(*s.buffer) - len(*s.buffer)
		if len(content) <= room {
			*s.buffer = append(*s.buffer, content...)
			return
		}
		*s.buffer = append(*s.buffer, content[:room]...)
		content = content[room:]
		s.send()
	}
}

// send passes a full chunk on.
func (s *stream) send() {
	if !s.begun {
		s.begun = true
		if s.gzip {
			s.w.Header().Set("Content-Encoding", "gzip")
			s.w.Header().Add("Vary", "Accept-Encoding")
			s.zip = s.p.zipper(s.w)
		}
		s.w.WriteHeader(http.StatusOK)
	}
	var w io.Writer = s.w
	if s.zip != nil {
		w = s.zip
	}
	_, s.err = w.Write(*s.buffer)
	*s.buffer = (*s.buffer)[:0]
}

// close sends the rest. The answer is aborted if err says that it cannot be
// completed; the client must not take what it has for the whole.
func (s *stream) close(err error) {
	defer s.p.buffers.Put(s.buffer)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if !s.begun {
		s.w.Header().Set("Content-Length", strconv.Itoa(len(*s.buffer)))
		s.w.WriteHeader(http.StatusOK)
		_, _ = s.w.Write(*s.buffer)
		return
	}
	if s.err == nil {
		s.send()
	}
	if s.zip != nil {
		s.p.done(s.zip)
	}
}

func (p *Responder) zipped(w http.ResponseWriter, code int, content []byte) {
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Add("Vary", "Accept-Encoding")
	w.WriteHeader(code)
	z := p.zipper(w)
	_, _ = z.Write(content)
	p.done(z)
}

func (p *Responder) zipper(w io.Writer) *gzip.Writer {
	if z, ok := p.zippers.Get().(*gzip.Writer); ok {
		z.Reset(w)
		return z
	}
	// The level is a valid one, which is the only error.
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
	return z
}

func (p *Responder) done(z *gzip.Writer) {
	_ = z.Close()
	z.Reset(nil)
	p.zippers.Put(z)
}
