package jobs

import (
	"slices"
	"strconv"
	"strings"
)

// interval is a range of completion indexes, both ends included.
type interval struct{ first, last int }

// intervals is a set of indexes as a Job's status writes it: ordered, and
// neighbours joined.
type intervals []interval

// parseIntervals reads text such as "0-3,5", up to the number of completions.
// What cannot be read is left out.
func parseIntervals(text string, completions int) intervals {
	var out intervals
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		a, b, ranged := strings.Cut(part, "-")
		first, err := strconv.Atoi(a)
		if err != nil {
			continue
		}
		last := first
		if ranged {
			if last, err = strconv.Atoi(b); err != nil {
				continue
			}
		}
		if first < completions {
			out = append(out, interval{first, min(last, completions-1)})
		}
	}
	return out.normal()
}

// normal sorts and joins.
func (x intervals) normal() intervals {
	x = slices.Clone(x)
	slices.SortFunc(x, func(a, b interval) int { return a.first - b.first })
	var out intervals
	for _, i := range x {
		if n := len(out); n > 0 && i.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, i.last)
			continue
		}
		out = append(out, i)
	}
	return out
}

// with returns the set with more indexes in it.
func (x intervals) with(indexes ...int) intervals {
	out := slices.Clone(x)
	for _, i := range indexes {
		out = append(out, interval{i, i})
	}
	return out.normal()
}

func (x intervals) union(y intervals) intervals { return slices.Concat(x, y).normal() }

func (x intervals) has(index int) bool {
	i, _ := slices.BinarySearchFunc(x, index, func(v interval, n int) int { return v.last - n })
	return i < len(x) && x[i].first <= index
}

func (x intervals) total() int {
	n := 0
	for _, i := range x {
		n += i.last - i.first + 1
	}
	return n
}

// overlap counts the indexes that are in both.
func (x intervals) overlap(y intervals) int {
	n := 0
	for i, j := 0, 0; i < len(x) && j < len(y); {
		n += max(0, min(x[i].last, y[j].last)-max(x[i].first, y[j].first)+1)
		if x[i].last < y[j].last {
			i++
		} else {
			j++
		}
	}
	return n
}

// free returns up to count indexes below limit that are not in the set.
func (x intervals) free(count, limit int) []int {
	var out []int
	next := 0
	for _, i := range x {
		for ; next < i.first && next < limit && len(out) < count; next++ {
			out = append(out, next)
		}
		next = max(next, i.last+1)
	}
	for ; next < limit && len(out) < count; next++ {
		out = append(out, next)
	}
	return out
}

func (x intervals) String() string {
	var out []string
	for _, i := range x {
		switch i.last - i.first {
		case 0:
			out = append(out, strconv.Itoa(i.first))
		case 1:
			out = append(out, strconv.Itoa(i.first), strconv.Itoa(i.last))
		default:
			out = append(out, strconv.Itoa(i.first)+"-"+strconv.Itoa(i.last))
		}
	}
	return strings.Join(out, ",")
}
