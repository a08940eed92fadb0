package nodes

import (
	"fmt"
	"math/big"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

// Range is one cluster CIDR and the size of the parts that nodes get.
type Range struct {
	Cluster netip.Prefix
	Mask    int
	// Service, if valid, is kept free.
	Service netip.Prefix
}

// IPAM is node-ipam-controller: each node without pod CIDRs gets one of each
// range. It looks at all nodes at once, and so never gives a part twice.
func IPAM(d loop.Deps, ranges []Range) loop.Loop {
	nodes := cluster.Of[*corev1.Node](d.API)
	return loop.New(d, loop.Spec[string, []*corev1.Node]{
		Name: "node-ipam-controller", Component: "cidrAllocator", Workers: 1,
		Sources: []loop.Source[string]{{Cache: nodes, Keys: func(_, after kinds.Object) []string {
			if n, ok := after.(*corev1.Node); ok && len(n.Spec.PodCIDRs) == 0 {
				return []string{"nodes"}
			}
			return nil
		}}},
		Observe: func(string, time.Time) ([]*corev1.Node, bool) { return cluster.List[*corev1.Node](nodes, ""), true },
		Compute: func(all []*corev1.Node, _ time.Time) plan.Plan { return allocate(all, ranges) },
	})
}

func allocate(nodes []*corev1.Node, ranges []Range) plan.Plan {
	var pools []*pool
	for _, r := range ranges {
		pools = append(pools, newPool(r))
	}
	for _, n := range nodes {
		for i, cidr := range n.Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(cidr); err == nil && i < len(pools) {
				pools[i].occupy(p)
			}
		}
	}
	var p plan.Plan
	var give plan.Parallel
	for _, n := range nodes {
		if len(n.Spec.PodCIDRs) > 0 || n.DeletionTimestamp != nil {
			continue
		}
		var cidrs []string
		for i, pool := range pools {
			cidr, ok := pool.next()
			if !ok {
				p.Add(statusEvent(n, "CIDRNotAvailable"))
				p.Err = fmt.Errorf("failed to allocate cidr from cluster cidr at idx:%v: CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range", i)
				break
			}
			cidrs = append(cidrs, cidr.String())
		}
		if len(cidrs) == len(pools) {
			give.Parts = append(give.Parts, patchNode(n, types.StrategicMergePatchType, map[string]any{
				"metadata": map[string]any{"uid": n.UID},
				"spec":     map[string]any{"podCIDR": cidrs[0], "podCIDRs": cidrs},
			}))
		}
	}
	if len(give.Parts) > 0 {
		p.Add(give)
	}
	return p
}

// pool is the parts of a range. It goes round: what a node that is gone had is
// not given to the next one, as routes to it may still be about.
type pool struct {
	Range
	count int
	used  map[int]bool
	last  int
}

func newPool(r Range) *pool {
	p := &pool{Range: r, used: map[int]bool{}, last: -1, count: 1 << min(16, max(0, r.Mask-r.Cluster.Bits()))}
	if r.Service.IsValid() && r.Service.Overlaps(r.Cluster) {
		p.mark(r.Service)
	}
	return p
}

// part is the i-th part of the range.
func (p *pool) part(i int) netip.Prefix {
	base := p.Cluster.Masked().Addr()
	n := new(big.Int).SetBytes(base.AsSlice())
	step := new(big.Int).Lsh(big.NewInt(int64(i)), uint(base.BitLen()-p.Mask))
	raw := n.Add(n, step).FillBytes(make([]byte, base.BitLen()/8))
	a, _ := netip.AddrFromSlice(raw) // its length is an address's
	return netip.PrefixFrom(a, p.Mask)
}

// index is which part an address is in; false if it is in none.
func (p *pool) index(a netip.Addr) (int, bool) {
	if !p.Cluster.Contains(a) {
		return 0, false
	}
	d := new(big.Int).Sub(new(big.Int).SetBytes(a.AsSlice()), new(big.Int).SetBytes(p.Cluster.Masked().Addr().AsSlice()))
	i := d.Rsh(d, uint(a.BitLen()-p.Mask)).Int64()
	return int(i), i < int64(p.count)
}

// mark takes all parts that overlap with a prefix.
func (p *pool) mark(x netip.Prefix) (last int) {
	last = -1
	first := x.Masked().Addr()
	if !p.Cluster.Contains(first) {
		first = p.Cluster.Masked().Addr()
	}
	i, ok := p.index(first)
	for ; ok && i < p.count && p.part(i).Overlaps(x); i++ {
		p.used[i] = true
		last = i
	}
	return last
}

func (p *pool) occupy(x netip.Prefix) {
	if x.Overlaps(p.Cluster) {
		p.last = max(p.last, p.mark(x))
	}
}

func (p *pool) next() (netip.Prefix, bool) {
	for n := range p.count {
		i := (p.last + 1 + n) % p.count
		if !p.used[i] {
			p.used[i], p.last = true, i
			return p.part(i), true
		}
	}
	return netip.Prefix{}, false
}
