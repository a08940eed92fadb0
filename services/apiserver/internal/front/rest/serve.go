package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/warning"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth/authn"
	"coracle.local/services/apiserver/internal/front/rest/respond"
	"coracle.local/services/apiserver/internal/front/rest/target"
)

// Upstream's limits on a request that is not meant to last.
const (
	longestRequest = time.Minute
	longestWrite   = 34 * time.Second
)

// call is one request on its way.
type call struct {
	*server
	w *writer
	r *http.Request
	t target.Target

	// For requests about a resource:
	kind      *kinds.Kind
	namespace string // empty for kinds without one, whatever the path says
	values    url.Values
	dryRun    bool
}

func (c *call) ctx() context.Context { return c.r.Context() }

// ServeHTTP takes a request through guard and limits to its handler.
func (s *server) ServeHTTP(plain http.ResponseWriter, r *http.Request) {
	started := s.Clock.Now()
	w := &writer{ResponseWriter: plain}
	c := &call{server: s, w: w, r: r, t: target.Parse(r)}
	header := w.Header()
	id := r.Header.Get("Audit-ID")
	if id == "" {
		id = string(uuid.NewUUID())
	}
	header.Set("Audit-Id", id)
	header.Set("Cache-Control", "no-cache, private")
	done := s.metrics.begin(&c.t, long(&c.t))
	c.r, w.record = s.Audit.Receive(r, id, long(&c.t), started)
	defer func() {
		code := w.code
		p := recover()
		w.record.Done(p)
		if p != nil {
			code = c.panicked(p)
			defer func() {
				if p == any(http.ErrAbortHandler) {
					panic(p)
				}
			}()
		}
		done(code, c.dryRun, s.Clock.Since(started))
	}()
	if err := c.admit(); err != nil {
		if w.code == 0 {
			if apierrors.IsForbidden(err) {
				header.Set("X-Content-Type-Options", "nosniff")
			}
			s.respond.Error(w, c.r, err)
		}
		return
	}
	if err := c.serve(); err != nil {
		s.fail(c, err)
	}
}

// fail answers with an error, unless an answer has begun.
func (s *server) fail(c *call, err error) {
	if c.w.code != 0 {
		s.Log.Debug("request failed after its answer began", zap.String("path", c.t.Path), zap.Error(err))
		return
	}
	if status := respond.Status(err); status.Code >= http.StatusInternalServerError && c.ctx().Err() == nil {
		s.Log.Debug("request failed", zap.String("method", c.r.Method), zap.String("path", c.t.Path), zap.Error(err))
	}
	s.respond.Error(c.w, c.r, err)
}

// panicked reports a panic of a handler and returns the code for it.
func (c *call) panicked(p any) int {
	if p == any(http.ErrAbortHandler) {
		return http.StatusInternalServerError
	}
	c.Log.Error("handler panicked", zap.String("method", c.r.Method), zap.String("path", c.t.Path),
		zap.Any("panic", p), zap.String("stack", string(debug.Stack())))
	if c.w.code == 0 {
		http.Error(c.w, "This request caused apiserver to panic. Look in the logs for details.", http.StatusInternalServerError)
	}
	return http.StatusInternalServerError
}

// admit finds out who calls and whether they may. What only it may see is
// taken off the request, lest it be passed on.
func (c *call) admit() error {
	ctx := warning.WithWarningRecorder(c.ctx(), &warnings{w: c.w})
	ctx, err := c.Guard.Admit(ctx, authn.FromRequest(c.r), c.t.Attributes())
	if err != nil {
		return err
	}
	c.r.Header.Del("Authorization")
	c.r = c.r.WithContext(ctx)
	return nil
}

// serve runs the handler within its time.
func (c *call) serve() error {
	if !c.t.IsResource {
		return c.path()
	}
	c.values = url.Values{}
	if c.r.URL.RawQuery != "" {
		c.values = c.r.URL.Query()
	}
	if long(&c.t) {
		return c.resource()
	}
	timeout, err := c.timeout()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx(), timeout)
	defer cancel()
	c.r = c.r.WithContext(ctx)
	err = c.resource()
	if errors.Is(err, context.Canceled) && c.w.code == 0 {
		// Nobody hears this; it is for the metrics.
		return apierrors.NewTimeoutError("request did not complete within requested timeout - context canceled", 0)
	}
	return err
}

func (c *call) timeout() (time.Duration, error) {
	timeout := longestRequest
	switch c.t.Verb {
	case "create", "update", "patch", "delete":
		timeout = longestWrite
	}
	if text := c.values.Get("timeout"); text != "" {
		asked, err := time.ParseDuration(text)
		if err != nil {
			return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid timeout specified in the request URL - %s", err))
		}
		if asked > 0 && asked < timeout {
			timeout = asked
		}
	}
	return timeout, nil
}

// long tells whether a request may last.
func long(t *target.Target) bool {
	if t.Verb == "watch" || t.Verb == "proxy" {
		return true
	}
	switch t.Subresource {
	case "attach", "exec", "proxy", "log", "portforward":
		return true
	}
	return false
}
