package rest

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/body"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/rest/query"
	"coracle.local/services/apiserver/internal/front/rest/respond"
	"coracle.local/services/apiserver/internal/front/rest/table"
	"coracle.local/services/apiserver/internal/registry"
)

// get answers with one object.
func (c *call) get() error {
	out, err := c.accept(negotiate.Objects)
	if err != nil {
		return err
	}
	revision, err := query.ForGet(c.values)
	if err != nil {
		return err
	}
	if c.is("ComponentStatus") {
		return c.component(out)
	}
	if err := c.versionOf(revision); err != nil {
		return err
	}
	item, err := c.Registry.Get(c.ctx(), c.kind, c.namespace, c.t.Name, registry.GetOptions{ResourceVersion: revision})
	if err != nil {
		return err
	}
	if out.Shape != negotiate.Whole {
		o, err := item.Decode()
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		return c.object(out, http.StatusOK, o)
	}
	return c.respond.Item(c.w, c.r, out, http.StatusOK, c.kind.GroupVersionKind(), item)
}

// badVersion words a resource version that is no number.
func badVersion(version string) string {
	if version == "" {
		return ""
	}
	if _, err := strconv.ParseUint(version, 10, 64); err != nil {
		return fmt.Sprintf("resourceVersion: Invalid value: %q: %v", version, err)
	}
	return ""
}

// plainVersion refuses a wrong version as upstream does where its storage
// parses it: with a bare error.
func plainVersion(version string) error {
	if bad := badVersion(version); bad != "" {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: bad,
		}}
	}
	return nil
}

// versionOf checks the version of a GET. Of events upstream keeps no cache, and
// what reads them from etcd says it with a reason.
func (c *call) versionOf(version string) error {
	if bad := badVersion(version); bad != "" && c.is("Event") {
		return apierrors.NewBadRequest("invalid resource version: " + bad)
	}
	return plainVersion(version)
}

// listOrWatch answers with all objects, or their changes.
func (c *call) listOrWatch(name string, watch bool) error {
	out, err := c.accept(negotiate.Collections)
	if err != nil {
		return err
	}
	if name == "" && c.t.Name != "" {
		name = c.t.Name // the selector's
	}
	o, err := query.ForList(c.values, c.kind, c.fields.of, name, watch)
	if err != nil {
		return err
	}
	if o.Watch {
		if !c.kind.Has("watch") {
			return apierrors.NewMethodNotSupported(c.kind.GroupResource(), "watch")
		}
		return c.watch(out, o)
	}
	return c.list(out, o)
}

func (c *call) list(out negotiate.Output, o *query.List) error {
	if c.is("ComponentStatus") {
		return c.components(out)
	}
	if bad := badVersion(o.ResourceVersion); bad != "" {
		return apierrors.NewBadRequest("invalid resource version: " + bad)
	}
	l, err := c.Registry.List(c.ctx(), c.kind, c.listOptions(o))
	if err != nil {
		return err
	}
	meta := metav1.ListMeta{
		ResourceVersion: strconv.FormatInt(l.Revision, 10), Continue: l.Continue, RemainingItemCount: l.Remaining,
	}
	if out.Shape != negotiate.Whole {
		return c.shapedList(out, meta, len(l.Items), shownItem(l.Items))
	}
	if c.kind.Custom() {
		if err := readable(l.Items); err != nil {
			return err
		}
	}
	return respond.List(c.respond, c.w, c.r, out, listOf(c.kind), meta, l.Items)
}

func (c *call) listOptions(o *query.List) registry.ListOptions {
	return registry.ListOptions{
		Namespace: c.namespace, Labels: o.Labels, Fields: o.Fields,
		ResourceVersion: o.ResourceVersion, ResourceVersionMatch: string(o.ResourceVersionMatch),
		Limit: o.Limit, Continue: o.Continue,
	}
}

// shapedList answers with a table, or with metadata. Of an item only what the
// shape needs is decoded.
func (c *call) shapedList(out negotiate.Output, meta metav1.ListMeta, n int, item func(int) (shaped, error)) error {
	switch out.Shape {
	case negotiate.Table:
		include, err := query.ForTable(c.values)
		if err != nil {
			return err
		}
		p := table.For(c.kind, c.Registry.Strategy(c.kind))
		rows := make([]metav1.TableRow, n)
		for i := range rows {
			s, err := item(i)
			if err != nil {
				return err
			}
			o, err := s.Decode()
			if err != nil {
				return apierrors.NewInternalError(err)
			}
			rows[i] = p.Row(o, out.Version, include)
		}
		return c.respond.Object(c.w, c.r, out, http.StatusOK, table.Kind(out.Version, "Table"), p.Table(out.Version, meta, rows, true))
	case negotiate.MetadataList:
		items := make([]metav1.PartialObjectMetadata, n)
		for i := range items {
			s, err := item(i)
			if err != nil {
				return err
			}
			m, err := table.EncodedMetadata(c.kind, s, out.Version)
			if err != nil {
				return err
			}
			items[i] = *m
		}
		return c.respond.Object(c.w, c.r, out, http.StatusOK, table.Kind(out.Version, "PartialObjectMetadataList"), table.MetadataList(out.Version, meta, items))
	}
	return negotiate.NotAcceptable(fmt.Sprintf("you requested PartialObjectMetadata, but the requested object is a list (*%s)", c.internalName(true)))
}

// internalName is what upstream calls the kind, or a list of it, inside.
func (c *call) internalName(list bool) string {
	k := c.kind
	if k.StoredAs != nil && !k.Custom() {
		k = k.StoredAs
	}
	switch {
	case k.Custom() && list:
		return "unstructured.UnstructuredList"
	case list:
		return body.Internal(k.Group) + "." + k.Kind + "List"
	}
	return body.Internal(k.Group) + "." + k.Kind
}

// object answers with one object of the call's kind, in the shape asked for.
// The object is taken over.
func (c *call) object(out negotiate.Output, code int, o kinds.Object) error {
	switch out.Shape {
	case negotiate.Table:
		return c.row(out, code, table.For(c.kind, c.Registry.Strategy(c.kind)), o)
	case negotiate.Metadata:
		return c.respond.Object(c.w, c.r, out, code, table.Kind(out.Version, "PartialObjectMetadata"), table.Metadata(o, out.Version))
	case negotiate.MetadataList:
		if c.kind.Custom() {
			return errors.New("content is not a list")
		}
		return negotiate.NotAcceptable(fmt.Sprintf("you requested PartialObjectMetadataList, but the requested object is not a list (*%s)", c.internalName(false)))
	}
	return c.respond.Object(c.w, c.r, out, code, c.kind.GroupVersionKind(), o)
}

// row answers with a table of one object, which is taken over.
func (c *call) row(out negotiate.Output, code int, p table.Printer, o kinds.Object) error {
	include, err := query.ForTable(c.values)
	if err != nil {
		return err
	}
	meta := metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}
	t := p.Table(out.Version, meta, []metav1.TableRow{p.Row(o, out.Version, include)}, true)
	return c.respond.Object(c.w, c.r, out, code, table.Kind(out.Version, "Table"), t)
}

// other answers with an object of another kind than the path's.
func (c *call) other(code int, kind schema.GroupVersionKind, o runtime.Object) error {
	out, err := c.accept(negotiate.Objects)
	if err != nil {
		return err
	}
	if m, ok := o.(metav1.Object); ok && out.Shape == negotiate.Metadata {
		return c.respond.Object(c.w, c.r, out, code, table.Kind(out.Version, "PartialObjectMetadata"), table.Metadata(m, out.Version))
	}
	if out.Shape != negotiate.Whole {
		return negotiate.NotAcceptable(fmt.Sprintf("no %s exists of a %T", out.Shape.Kind(), o))
	}
	return c.respond.Object(c.w, c.r, out, code, kind, o)
}

func (c *call) statuses() []corev1.ComponentStatus {
	if c.Config.Components == nil {
		return nil
	}
	return c.Config.Components(c.ctx())
}

func (c *call) component(out negotiate.Output) error {
	for _, s := range c.statuses() {
		if s.Name == c.t.Name {
			return c.object(out, http.StatusOK, &s)
		}
	}
	return apierrors.NewNotFound(c.kind.GroupResource(), c.t.Name)
}

func (c *call) components(out negotiate.Output) error {
	all := c.statuses()
	if out.Shape != negotiate.Whole {
		return c.shapedList(out, metav1.ListMeta{}, len(all), func(i int) (shaped, error) { return newLoose(c.kind, &all[i]) })
	}
	if all == nil {
		all = []corev1.ComponentStatus{}
	}
	kind := c.kind.GroupVersion().WithKind("ComponentStatusList")
	return c.respond.Object(c.w, c.r, out, http.StatusOK, kind, &corev1.ComponentStatusList{Items: all})
}
