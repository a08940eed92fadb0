package cluster

// NoDomain is the domain of nodes without a topology key's label.
const NoDomain int32 = -1

// Domains divides the nodes by their value of one label.
type Domains struct {
	Key string
	// Of is the domain of each node, by slot; NoDomain without the label.
	Of []int32
	// Size is the number of domains.
	Size int
	// Single says that no two nodes share a domain, as with host names. Counts
	// of such a key are then facts of a node and not of a set of nodes.
	Single bool
}

// divide groups nodes by a label.
func divide(key string, nodes []*Node) *Domains {
	d := &Domains{Key: key, Of: make([]int32, len(nodes)), Single: true}
	ids := map[string]int32{}
	for slot, n := range nodes {
		value, ok := n.Object.Labels[key]
		if !ok {
			d.Of[slot] = NoDomain
			continue
		}
		id, seen := ids[value]
		if !seen {
			id = int32(len(ids))
			ids[value] = id
		}
		d.Single = d.Single && !seen
		d.Of[slot] = id
	}
	d.Size = len(ids)
	return d
}

// Tally counts something in each domain of a topology key.
type Tally struct {
	Domains *Domains
	counts  []int64
	// total is the sum of all counts.
	total int64
	// at is where a Spot finds this tally; see Spots.
	at int
}

// NewTally starts from zero.
func NewTally(d *Domains) *Tally {
	return &Tally{Domains: d, counts: make([]int64, d.Size), at: -1}
}

// Add counts delta for the domain of a node. Nodes without the label have no
// domain and count nowhere.
func (t *Tally) Add(slot int, delta int64) {
	if id := t.Domains.Of[slot]; id != NoDomain {
		t.counts[id] += delta
		t.total += delta
	}
}

// Total is the sum over all domains.
func (t *Tally) Total() int64 { return t.total }

// Domain is the count of one domain.
func (t *Tally) Domain(id int32) int64 { return t.counts[id] }

// Spots turns nodes into what topological rules see of them. Nodes with equal
// spots are alike to every rule whose tallies were registered.
type Spots struct {
	keys []*Domains
	// shared and single are the registered tallies whose key groups nodes, and
	// those whose key sets each node apart.
	shared, single []*Tally
}

// Register makes room for a tally.
func (s *Spots) Register(t *Tally) {
	if t.Domains.Single {
		t.at = len(s.single)
		s.single = append(s.single, t)
		return
	}
	for i, d := range s.keys {
		if d == t.Domains {
			t.at = i
			s.shared = append(s.shared, t)
			return
		}
	}
	t.at = len(s.keys)
	s.keys = append(s.keys, t.Domains)
	s.shared = append(s.shared, t)
}

// Width is the number of values that describe a spot.
func (s *Spots) Width() int { return len(s.keys) + len(s.single) }

// missing stands for the count of a node that has no domain.
const missing = int64(-1) << 62

// Spot is a place in the cluster as topological rules see it: its domain of
// every key that groups nodes, and its counts of those that do not.
type Spot struct {
	values []int64
	keys   int
}

// At describes a node. It fills values, which must have the width of the
// spots, and keeps it.
func (s *Spots) At(slot int, values []int64) Spot {
	for i, d := range s.keys {
		values[i] = int64(d.Of[slot])
	}
	for i, t := range s.single {
		if id := t.Domains.Of[slot]; id == NoDomain {
			values[len(s.keys)+i] = missing
		} else {
			values[len(s.keys)+i] = t.counts[id]
		}
	}
	return Spot{values: values, keys: len(s.keys)}
}

// Spot reads a description that At made.
func (s *Spots) Spot(values []int64) Spot {
	return Spot{values: values[:s.Width()], keys: len(s.keys)}
}

// Count is the tally's count at the spot; false if the spot has no domain.
func (s Spot) Count(t *Tally) (int64, bool) {
	if t.Domains.Single {
		n := s.values[s.keys+t.at]
		return n, n != missing
	}
	id := int32(s.values[t.at])
	if id == NoDomain {
		return 0, false
	}
	return t.counts[id], true
}

// Domain is the spot's domain of a tally's key. It is meaningless for keys
// that set each node apart.
func (s Spot) Domain(t *Tally) int32 { return int32(s.values[t.at]) }
