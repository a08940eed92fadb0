package cache

import (
	"k8s.io/apimachinery/pkg/watch"
)

// nodeField is indexed: each kubelet watches the pods of its node alone.
const nodeField = "spec.nodeName"

// watchers are a collection's, by what narrows them most, so that an event
// costs work only for those that may want it.
type watchers struct {
	all         map[*Watch]struct{}
	byNamespace map[string]map[*Watch]struct{}
	byNode      map[string]map[*Watch]struct{}
	byName      map[string]map[*Watch]struct{}
}

func newWatchers() watchers {
	return watchers{
		all:         map[*Watch]struct{}{},
		byNamespace: map[string]map[*Watch]struct{}{},
		byNode:      map[string]map[*Watch]struct{}{},
		byName:      map[string]map[*Watch]struct{}{},
	}
}

// place finds where a watch belongs: an index and the value in it, or all.
func (ws *watchers) place(w *Watch) (map[string]map[*Watch]struct{}, string) {
	if name, ok := w.selector.exact("metadata.name"); ok {
		return ws.byName, name
	}
	if node, ok := w.selector.exact(nodeField); ok && w.show == nil {
		return ws.byNode, node
	}
	if w.selector.Namespace != "" {
		return ws.byNamespace, w.selector.Namespace
	}
	return nil, ""
}

func (ws *watchers) add(w *Watch) {
	index, value := ws.place(w)
	if index == nil {
		ws.all[w] = struct{}{}
		return
	}
	if index[value] == nil {
		index[value] = map[*Watch]struct{}{}
	}
	index[value][w] = struct{}{}
}

func (ws *watchers) remove(w *Watch) {
	index, value := ws.place(w)
	if index == nil {
		delete(ws.all, w)
		return
	}
	delete(index[value], w)
	if len(index[value]) == 0 {
		delete(index, value)
	}
}

func (ws *watchers) send(e *event) {
	offer(ws.all, e)
	some := e.item
	if some == nil {
		some = e.previous
	}
	offer(ws.byNamespace[some.Namespace], e)
	offer(ws.byName[some.Name], e)
	if len(ws.byNode) == 0 {
		return
	}
	var now, before string
	if e.item != nil {
		now = e.item.Fields()[nodeField]
		offer(ws.byNode[now], e)
	}
	if e.previous != nil {
		if before = e.previous.Fields()[nodeField]; e.item == nil || before != now {
			offer(ws.byNode[before], e)
		}
	}
}

func offer(set map[*Watch]struct{}, e *event) {
	for w := range set {
		w.offer(e)
	}
}

func (ws *watchers) each(visit func(*Watch)) {
	for w := range ws.all {
		visit(w)
	}
	for _, index := range []map[string]map[*Watch]struct{}{ws.byNamespace, ws.byNode, ws.byName} {
		for _, set := range index {
			for w := range set {
				visit(w)
			}
		}
	}
}

func (ws *watchers) bookmark(revision int64) {
	ws.each(func(w *Watch) {
		if w.bookmarks && revision > w.told {
			w.push(Event{Type: watch.Bookmark, Revision: revision})
		}
	})
}

func (ws *watchers) cut(err error) {
	ws.each(func(w *Watch) { w.cut(err) })
	*ws = newWatchers()
}
