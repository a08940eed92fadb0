package cluster

import corev1 "k8s.io/api/core/v1"

// SetNode adds or updates a node and tells what changed; nothing, if no
// placement depends on the update.
func (s *State) SetNode(object *corev1.Node) (Event, bool) {
	slot, known := s.slots[object.Name]
	if !known {
		s.addNode(object)
		return Event{Kind: NodeAdded, Node: object}, true
	}
	old := s.Nodes[slot]
	changed := diffNode(old.Object, object)
	s.Nodes[slot] = old.withObject(object)
	if changed&NodeImages != 0 {
		s.moveImages(slot, old.Images, s.Nodes[slot].Images)
	}
	switch {
	case changed == 0:
		return Event{}, false
	case changed&(NodeLabels|NodeTaints) != 0:
		s.moveBorders()
	default:
		s.record(Change{Slot: slot})
	}
	return Event{Kind: NodeChanged, OldNode: old.Object, Node: object, Changed: changed}, true
}

func (s *State) addNode(object *corev1.Node) {
	n := NewNode(object)
	for _, p := range s.stray[object.Name] {
		n = n.With(p)
	}
	delete(s.stray, object.Name)
	s.slots[object.Name] = len(s.Nodes)
	s.Nodes = append(s.Nodes, n)
	for name := range n.Images {
		s.Holders[name]++
	}
	s.moveBorders()
}

// RemoveNode forgets a node. Its pods are remembered until they are deleted
// themselves, in case the node comes back.
func (s *State) RemoveNode(name string) (Event, bool) {
	slot, ok := s.slots[name]
	if !ok {
		return Event{}, false
	}
	n := s.Nodes[slot]
	if len(n.Pods) > 0 {
		s.stray[name] = n.Pods
	}
	last := len(s.Nodes) - 1
	s.Nodes[slot] = s.Nodes[last]
	s.slots[s.Nodes[slot].Name()] = slot
	s.Nodes[last] = nil
	s.Nodes = s.Nodes[:last]
	delete(s.slots, name)
	s.dropImages(n.Images)
	s.moveBorders()
	return Event{Kind: NodeGone, OldNode: n.Object}, true
}

// moveImages keeps the count of holders. It changes the scores of every node
// that has one of these images, so all of them enter the log.
func (s *State) moveImages(slot int, old, now map[string]int64) {
	touched := map[string]bool{}
	for name, size := range now {
		if before, ok := old[name]; !ok {
			s.Holders[name]++
			touched[name] = true
		} else if before != size {
			touched[name] = true
		}
	}
	for name := range old {
		if _, ok := now[name]; !ok {
			s.dropImages(map[string]int64{name: 0})
			touched[name] = true
		}
	}
	for other, n := range s.Nodes {
		if other == slot {
			continue
		}
		for name := range touched {
			if _, ok := n.Images[name]; ok {
				s.record(Change{Slot: other})
				break
			}
		}
	}
}

func (s *State) dropImages(images map[string]int64) {
	for name := range images {
		if s.Holders[name]--; s.Holders[name] <= 0 {
			delete(s.Holders, name)
		}
	}
}
