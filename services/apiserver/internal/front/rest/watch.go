package rest

import (
	"context"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/rest/query"
	"coracle.local/services/apiserver/internal/front/rest/stream"
	"coracle.local/services/apiserver/internal/front/rest/table"
	"coracle.local/services/apiserver/internal/registry"
)

// watch answers with changes until the client or the time ends it.
func (c *call) watch(out negotiate.Output, o *query.List) error {
	if err := plainVersion(o.ResourceVersion); err != nil {
		return err
	}
	if err := out.Stream(); err != nil {
		return err
	}
	e := &stream.Encoder{Kind: c.kind, Output: out, Printer: table.For(c.kind, c.Registry.Strategy(c.kind))}
	if out.Shape == negotiate.Table {
		var err error
		if e.Include, err = query.ForTable(c.values); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx(), c.lasts(o.TimeoutSeconds))
	defer cancel()
	if c.Draining != nil {
		stop := context.AfterFunc(c.Draining, cancel)
		defer stop()
	}
	w, err := c.Registry.Watch(ctx, c.kind, registry.WatchOptions{
		Namespace: c.namespace, Labels: o.Labels, Fields: o.Fields, ResourceVersion: o.ResourceVersion,
		SendInitialEvents: o.SendInitialEvents, AllowBookmarks: o.AllowWatchBookmarks,
	})
	switch {
	case err != nil && apierrors.IsBadRequest(err):
		return err
	case err != nil:
		// A watch that was asked for rightly fails as upstream's: within.
		c.sender.Serve(ctx, c.w, c.r, failed{err}, e)
		return nil
	}
	defer w.Close()
	c.sender.Serve(ctx, c.w, c.r, w, e)
	return nil
}

// lasts is how long a watch may go on. Those that do not say end at different
// times, so that clients do not all come back at once.
func (c *call) lasts(seconds *int64) time.Duration {
	if seconds != nil && *seconds > 0 {
		return time.Duration(*seconds) * time.Second
	}
	return time.Duration(float64(c.MinWatch) * (1 + rand.Float64()))
}

// failed is the source of a watch that could not be opened.
type failed struct{ err error }

func (f failed) Next(context.Context) (cache.Event, error) { return cache.Event{}, f.err }
func (failed) Pending() bool                               { return false }
