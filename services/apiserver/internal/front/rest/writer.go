package rest

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"unicode/utf8"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"coracle.local/services/apiserver/internal/audit"
)

// writer notes the code of an answer.
type writer struct {
	http.ResponseWriter
	code int // 0 until the answer begins
	// record hears of the code; nil if nothing is recorded.
	record *audit.Record
}

// begin notes that the answer begins.
func (w *writer) begin(code int) {
	if w.code == 0 {
		w.code = code
		w.record.Began(code)
	}
}

func (w *writer) WriteHeader(code int) {
	w.begin(code)
	w.ResponseWriter.WriteHeader(code)
}

func (w *writer) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what is below.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush and Hijack are for libraries that know no controller.
func (w *writer) Flush() {
	w.begin(http.StatusOK)
	// Not every connection can; then there is nothing to flush early.
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack takes the connection over.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begin(http.StatusSwitchingProtocols)
	}
	return c, rw, err
}

// Bounds of the warnings of one answer, in characters: of all, and of each once
// they are too many.
const (
	mostWarnings   = 4 * 1024
	mostOfAWarning = 256
)

// warnings puts what handlers warn of into headers, each text once.
type warnings struct {
	w *writer

	mu     sync.Mutex
	texts  []recorded
	length int
	short  bool
}

type recorded struct{ agent, text string }

// AddWarning implements the recorder of k8s.io/apiserver/pkg/warning.
func (r *warnings) AddWarning(agent, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text == "" || r.w.code != 0 || (r.short && r.length >= mostWarnings) {
		return
	}
	for _, have := range r.texts {
		if have.text == text {
			return
		}
	}
	r.texts = append(r.texts, recorded{agent, text})
	if !r.short && r.length+utf8.RuneCountInString(text) > mostWarnings {
		// Too many: begin again, each shortened.
		r.short, r.length = true, 0
		r.w.Header().Del("Warning")
		for _, have := range r.texts {
			r.add(have)
		}
		return
	}
	r.add(recorded{agent, text})
}

func (r *warnings) add(one recorded) {
	if runes := []rune(one.text); r.short && len(runes) > mostOfAWarning {
		one.text = string(runes[:mostOfAWarning])
	}
	header, err := utilnet.NewWarningHeader(299, one.agent, one.text)
	if err != nil {
		return // a text that no header can carry
	}
	r.length += utf8.RuneCountInString(one.text)
	r.w.Header().Add("Warning", header)
}
