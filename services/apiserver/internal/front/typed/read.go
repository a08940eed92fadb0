package typed

import (
	"context"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"coracle.local/libs/wire"
	apiv1 "coracle.local/proto/coracle/api/v1"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/registry"
)

func (f *front) get(ctx context.Context, decode func(any) error) (any, error) {
	q := &apiv1.GetRequest{}
	if err := decode(q); err != nil {
		return nil, malformed(err)
	}
	ctx, err := f.admit(ctx, action{verb: "get", namespace: q.Namespace, name: q.Name})
	if err != nil {
		return nil, err
	}
	i, err := f.Registry.Get(ctx, f.kind, q.Namespace, q.Name, registry.GetOptions{ResourceVersion: q.ResourceVersion})
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(i.Frame())}, nil
}

func (f *front) listOptions(q *apiv1.ListRequest) (registry.ListOptions, error) {
	l, fs, err := f.selectors(q.GetLabelSelector(), q.GetFieldSelector())
	return registry.ListOptions{
		Namespace: q.GetNamespace(), Labels: l, Fields: fs,
		ResourceVersion: q.GetResourceVersion(), ResourceVersionMatch: q.GetResourceVersionMatch(),
		Limit: q.GetLimit(), Continue: q.GetContinue(),
	}, err
}

func (f *front) list(ctx context.Context, decode func(any) error) (any, error) {
	q := &apiv1.ListRequest{}
	if err := decode(q); err != nil {
		return nil, malformed(err)
	}
	o, err := f.listOptions(q)
	if err != nil {
		return nil, err
	}
	ctx, err = f.admit(ctx, selecting("list", o.Namespace, o.Labels, o.Fields))
	if err != nil {
		return nil, err
	}
	l, err := f.Registry.List(ctx, f.kind, o)
	if err != nil {
		return nil, err
	}
	head := wire.ListHead(strconv.FormatInt(l.Revision, 10), l.Continue, l.Remaining)
	out := make(mem.BufferSlice, 0, 1+2*len(l.Items))
	out = append(out, mem.SliceBuffer(head))
	for _, i := range l.Items {
		out = append(out, mem.SliceBuffer(wire.ListItem(nil, len(i.Frame()))), mem.SliceBuffer(i.Frame()))
	}
	return out, nil
}

var eventTypes = map[watch.EventType]apiv1.EventType{
	watch.Added:    apiv1.EventType_EVENT_TYPE_ADDED,
	watch.Modified: apiv1.EventType_EVENT_TYPE_MODIFIED,
	watch.Deleted:  apiv1.EventType_EVENT_TYPE_DELETED,
	watch.Bookmark: apiv1.EventType_EVENT_TYPE_BOOKMARK,
}

func (f *front) watch(_ any, s grpc.ServerStream) error {
	ctx := s.Context()
	q := &apiv1.WatchRequest{}
	if err := s.RecvMsg(q); err != nil {
		return malformed(err)
	}
	l, fs, err := f.selectors(q.LabelSelector, q.FieldSelector)
	if err != nil {
		return err
	}
	ctx, err = f.admit(ctx, selecting("watch", q.Namespace, l, fs))
	if err != nil {
		return err
	}
	o := registry.WatchOptions{Namespace: q.Namespace, Labels: l, Fields: fs, ResourceVersion: q.ResourceVersion, AllowBookmarks: true}
	if q.SendInitialEvents {
		o.SendInitialEvents = &q.SendInitialEvents
	}
	w, err := f.Registry.Watch(ctx, f.kind, o)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return err
		}
		frame, err := f.frame(e)
		if err != nil {
			return err
		}
		if err := s.SendMsg(frame); err != nil {
			return err
		}
	}
}

func (f *front) frame(e cache.Event) (mem.BufferSlice, error) {
	if e.Item != nil {
		return wire.EventFrame(eventTypes[e.Type], e.Item.Frame()), nil
	}
	o := f.kind.New()
	o.SetResourceVersion(strconv.FormatInt(e.Revision, 10))
	if e.InitialEnd {
		o.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	b, err := o.Marshal()
	return wire.EventFrame(eventTypes[e.Type], b), err
}
