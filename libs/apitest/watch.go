package apitest

import (
	"strconv"
	"strings"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/libs/wire"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

// selects tells whether a watch is about an object. Of field selectors it knows
// those of one name and of one node, and takes others for all.
func selects(r *apiv1.WatchRequest, o kinds.Object) bool {
	if r.GetNamespace() != "" && r.GetNamespace() != o.GetNamespace() {
		return false
	}
	field, value, _ := strings.Cut(r.GetFieldSelector(), "=")
	switch field {
	case "spec.nodeName":
		p, ok := o.(*corev1.Pod)
		return ok && p.Spec.NodeName == value
	case "metadata.name":
		return o.GetName() == value
	}
	return true
}

func (a *API) watch(k *kinds.Kind, s grpc.ServerStream) error {
	r := &apiv1.WatchRequest{}
	if err := s.RecvMsg(r); err != nil {
		return err
	}
	a.mu.Lock()
	var first []kinds.Object
	for _, o := range a.objects[k] {
		if selects(r, o) {
			first = append(first, clone(o))
		}
	}
	seen, version := len(a.log), strconv.FormatInt(a.revision, 10)
	a.mu.Unlock()
	for _, o := range first {
		if err := send(s, apiv1.EventType_EVENT_TYPE_ADDED, o); err != nil {
			return err
		}
	}
	mark := k.New()
	mark.SetResourceVersion(version)
	mark.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	if err := send(s, apiv1.EventType_EVENT_TYPE_BOOKMARK, mark); err != nil {
		return err
	}
	for {
		fresh, changed := a.Changes(seen)
		seen += len(fresh)
		for _, c := range fresh {
			event, o := apiv1.EventType_EVENT_TYPE_MODIFIED, c.After
			switch {
			case c.After == nil:
				event, o = apiv1.EventType_EVENT_TYPE_DELETED, c.Before
			case c.Before == nil:
				event = apiv1.EventType_EVENT_TYPE_ADDED
			}
			if c.Kind == k && selects(r, o) {
				if err := send(s, event, o); err != nil {
					return err
				}
			}
		}
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case <-changed:
		}
	}
}

func send(s grpc.ServerStream, event apiv1.EventType, o kinds.Object) error {
	b, err := o.Marshal()
	if err != nil {
		return err
	}
	return s.SendMsg(wire.EventFrame(event, b))
}
