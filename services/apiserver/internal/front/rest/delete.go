package rest

import (
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/rest/body"
	"coracle.local/services/apiserver/internal/front/rest/negotiate"
	"coracle.local/services/apiserver/internal/front/rest/query"
	"coracle.local/services/apiserver/internal/front/rest/respond"
	"coracle.local/services/apiserver/internal/front/rest/surface"
)

// deleteOptions reads the options of a deletion: from the body if there is one,
// else from the query.
func (c *call) deleteOptions() (*metav1.DeleteOptions, error) {
	data, err := c.read()
	if err != nil {
		return nil, err
	}
	var o *metav1.DeleteOptions
	if len(data) == 0 {
		o, err = query.ForDelete(c.values)
	} else {
		var encoding negotiate.Encoding
		if encoding, err = negotiate.Content(c.r); err == nil {
			o, err = body.DeleteOptions(data, encoding)
		}
	}
	if err != nil {
		return nil, err
	}
	c.dryRun = len(o.DryRun) > 0
	return o, query.CheckDelete(o)
}

// delete asks for an object's end. The answer is the object if it stays for a
// while or the kind says so, else a Status.
func (c *call) delete() error {
	out, err := negotiate.Accept(c.r, negotiate.Objects)
	if err != nil {
		return err
	}
	o, err := c.deleteOptions()
	if err != nil {
		return err
	}
	obj, gone, err := c.Registry.Delete(c.ctx(), c.kind, c.namespace, c.t.Name, o)
	if err != nil {
		return err
	}
	code := http.StatusOK
	if !gone && o.OrphanDependents != nil && !*o.OrphanDependents {
		code = http.StatusAccepted
	}
	if !gone || surface.ReturnsDeleted(c.kind) {
		return c.object(out, code, obj)
	}
	return c.respond.Object(c.w, c.r, out, code, schema.GroupVersionKind{Version: "v1", Kind: "Status"}, &metav1.Status{
		Status:  metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: c.t.Name, Group: c.kind.Group, Kind: c.kind.Plural, UID: obj.GetUID()},
	})
}

// deleteCollection deletes what the query selects, and answers with the list of
// what it was.
func (c *call) deleteCollection() error {
	out, err := negotiate.Accept(c.r, negotiate.Objects)
	if err != nil {
		return err
	}
	l, err := query.ForList(c.values, c.kind, c.fields.of, "", false)
	if err != nil {
		return err
	}
	o, err := c.deleteOptions()
	if err != nil {
		return err
	}
	deleted, err := c.Registry.DeleteCollection(c.ctx(), c.kind, c.listOptions(l), o)
	if err != nil {
		return err
	}
	return c.objects(out, deleted)
}

// objects answers with a list of objects that are not the cache's.
func (c *call) objects(out negotiate.Output, all []kinds.Object) error {
	items := make([]loose, len(all))
	var newest uint64
	for i, o := range all {
		if version, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64); err == nil {
			newest = max(newest, version)
		}
		frame, err := o.Marshal()
		if err != nil {
			return err
		}
		raw, err := respond.Marshal(negotiate.Output{}, c.kind.GroupVersionKind(), o)
		if err != nil {
			return err
		}
		items[i] = loose{json: raw[:len(raw)-1], frame: frame} // without the line's end
	}
	meta := metav1.ListMeta{}
	if newest > 0 {
		meta.ResourceVersion = strconv.FormatUint(newest, 10)
	}
	if out.Shape == negotiate.Whole {
		return respond.List(c.respond, c.w, c.r, out, c.kind.GroupVersionKind(), meta, items)
	}
	return c.shapedList(out, meta, len(all), func(i int) (kinds.Object, []byte) { return all[i], items[i].frame })
}

// loose is an object that was encoded for one answer.
type loose struct{ json, frame []byte }

func (l loose) JSON() ([]byte, error) { return l.json, nil }
func (l loose) Frame() []byte         { return l.frame }
