package rest

import (
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/body"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/rest/query"
	"coracle.local/services/apiserver/internal/front/rest/respond"
	"coracle.local/services/apiserver/internal/front/rest/surface"
)

// optionsKind is how upstream records the options of a deletion.
var optionsKind = schema.GroupVersionKind{Group: "meta.k8s.io", Version: "__internal", Kind: "DeleteOptions"}

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
			o, err = body.DeleteOptions(data, encoding, c.kind.GroupVersion())
		}
		if err == nil {
			c.sent(o, optionsKind)
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
	out, err := c.accept(negotiate.Objects)
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
	out, err := c.accept(negotiate.Objects)
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
	o.IgnoreStoreReadErrorWithClusterBreakingPotential = nil // is about one object
	deleted, revision, err := c.Registry.DeleteCollection(c.ctx(), c.kind, c.listOptions(l), o)
	if err != nil {
		return err
	}
	return c.objects(out, deleted, uint64(revision))
}

// objects answers with a list of objects that are not the cache's.
func (c *call) objects(out negotiate.Output, all []kinds.Object, newest uint64) error {
	items := make([]loose, len(all))
	for i, o := range all {
		if version, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64); err == nil {
			newest = max(newest, version)
		}
		var err error
		if items[i], err = newLoose(c.kind, o); err != nil {
			return err
		}
	}
	meta := metav1.ListMeta{}
	if newest > 0 {
		meta.ResourceVersion = strconv.FormatUint(newest, 10)
	}
	if out.Shape != negotiate.Whole {
		return c.shapedList(out, meta, len(all), func(i int) (shaped, error) { return items[i], nil })
	}
	return respond.List(c.respond, c.w, c.r, out, listOf(c.kind), meta, items)
}

// loose is an object that was encoded for one answer.
type loose struct {
	json, frame []byte
	object      kinds.Object
}

func newLoose(k *kinds.Kind, o kinds.Object) (loose, error) {
	frame, err := o.Marshal()
	if err != nil {
		return loose{}, err
	}
	raw, err := respond.Marshal(negotiate.Output{}, k.GroupVersionKind(), o)
	if err != nil {
		return loose{}, err
	}
	return loose{json: raw[:len(raw)-1], frame: frame, object: o}, nil // without the line's end
}

func (l loose) JSON() ([]byte, error) { return l.json, nil }
func (l loose) Frame() []byte         { return l.frame }

// Decode is the object, which the caller may take over.
func (l loose) Decode() (kinds.Object, error) { return l.object, nil }
