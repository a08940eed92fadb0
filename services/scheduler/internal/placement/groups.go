package placement

import (
	"encoding/binary"

	"coracle.local/services/scheduler/internal/filter"
)

// none is the group of nodes that are rejected by themselves.
const none int32 = -1

// group holds nodes that differ in their absolute scores only. Topological
// rules and relative scores are computed once for all of them.
type group struct {
	values []int64
	// heap has the best slot first.
	heap []int32
	// verdict is that of topological filters, when it was last asked for.
	verdict *filter.Verdict
}

// groups finds the group of a node by its values.
type groups struct {
	list  []*group
	byKey map[string]int32
	// free are groups without nodes, to be used again.
	free    []int32
	scratch []int64
	key     []byte
}

func newGroups() groups {
	return groups{byKey: map[string]int32{}}
}

func (g *groups) resize(width int) {
	g.scratch = make([]int64, width)
	g.key = make([]byte, 8*width)
}

func (g *groups) encode(values []int64) {
	for i, v := range values {
		binary.LittleEndian.PutUint64(g.key[8*i:], uint64(v))
	}
}

func (g *groups) find(values []int64) int32 {
	g.encode(values)
	if id, ok := g.byKey[string(g.key)]; ok {
		return id
	}
	var id int32
	if n := len(g.free); n > 0 {
		id = g.free[n-1]
		g.free = g.free[:n-1]
		copy(g.list[id].values, values)
		g.list[id].verdict = nil
	} else {
		id = int32(len(g.list))
		g.list = append(g.list, &group{values: append([]int64(nil), values...)})
	}
	g.byKey[string(g.key)] = id
	return id
}

// join puts a slot into its group without regard to order; heapify follows.
func (c *Class) join(i int, values []int64) {
	id := c.find(values)
	g := c.list[id]
	c.slots[i].group, c.slots[i].position = id, int32(len(g.heap))
	g.heap = append(g.heap, int32(i))
}

func (g *groups) heapify(slots []slot) {
	for _, group := range g.list {
		for i := len(group.heap)/2 - 1; i >= 0; i-- {
			group.down(slots, i)
		}
	}
}

// enter puts a slot into its group, in order.
func (g *groups) enter(slots []slot, i int, values []int64) {
	id := g.find(values)
	group := g.list[id]
	slots[i].group, slots[i].position = id, int32(len(group.heap))
	group.heap = append(group.heap, int32(i))
	group.up(slots, len(group.heap)-1)
}

// leave takes a slot out of its group.
func (g *groups) leave(slots []slot, i int) {
	id, at := slots[i].group, int(slots[i].position)
	group := g.list[id]
	last := len(group.heap) - 1
	group.swap(slots, at, last)
	group.heap = group.heap[:last]
	if at < last {
		group.down(slots, at)
		group.up(slots, at)
	}
	slots[i].group = none
	if last == 0 {
		g.encode(group.values)
		delete(g.byKey, string(g.key))
		g.free = append(g.free, id)
	}
}

// better orders slots of equal standing: the higher score first, then the one
// that has not been changed for longer, so that pods go round.
func better(a, b *slot) bool {
	if a.static != b.static {
		return a.static > b.static
	}
	return a.stamp < b.stamp
}

func (g *group) swap(slots []slot, i, j int) {
	g.heap[i], g.heap[j] = g.heap[j], g.heap[i]
	slots[g.heap[i]].position, slots[g.heap[j]].position = int32(i), int32(j)
}

func (g *group) up(slots []slot, i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !better(&slots[g.heap[i]], &slots[g.heap[parent]]) {
			return
		}
		g.swap(slots, i, parent)
		i = parent
	}
}

func (g *group) down(slots []slot, i int) {
	for {
		best := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(g.heap); child++ {
			if better(&slots[g.heap[child]], &slots[g.heap[best]]) {
				best = child
			}
		}
		if best == i {
			return
		}
		g.swap(slots, i, best)
		i = best
	}
}
