package differential

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Difference is one part of an answer that is not the same.
type Difference struct {
	// Request is the script and the step.
	Request string
	// Path is where in the answer: code, warnings, or body and what is below.
	Path         string
	Theirs, Ours string
}

// String shows both sides.
func (d Difference) String() string {
	return fmt.Sprintf("%s\n    %s\n    - %s\n    + %s", d.Request, d.Path, d.Theirs, d.Ours)
}

// Compare tells all differences between the answers of upstream and ours.
func Compare(scripts []Script, theirs, ours map[string][]Answer) []Difference {
	var out []Difference
	for _, s := range scripts {
		for i, step := range s.Steps {
			a, b := theirs[s.Name][i], ours[s.Name][i]
			for _, d := range answersDiffer(a, b) {
				d.Request = s.Name + ": " + step.Name
				out = append(out, d)
			}
		}
	}
	return out
}

func answersDiffer(a, b Answer) []Difference {
	var out []Difference
	differ(&out, "code", float64(a.Code), float64(b.Code))
	differ(&out, "type", a.Type, b.Type)
	differ(&out, "encoding", a.Encoding, b.Encoding)
	differ(&out, "warnings", lines(a.Warnings), lines(b.Warnings))
	differ(&out, "body", a.Body, b.Body)
	return out
}

func lines(all []string) any {
	out := make([]any, len(all))
	for i, l := range all {
		out[i] = l
	}
	return out
}

func differ(out *[]Difference, path string, a, b any) {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			keys := slices.Collect(maps.Keys(x))
			for k := range y {
				if _, both := x[k]; !both {
					keys = append(keys, k)
				}
			}
			slices.Sort(keys)
			for _, k := range keys {
				va, inA := x[k]
				vb, inB := y[k]
				if inA != inB {
					*out = append(*out, Difference{Path: path + "." + k, Theirs: presence(va, inA), Ours: presence(vb, inB)})
					continue
				}
				differ(out, path+"."+k, va, vb)
			}
			return
		}
	case []any:
		if y, ok := b.([]any); ok && len(x) == len(y) {
			for i := range x {
				differ(out, path+"."+strconv.Itoa(i), x[i], y[i])
			}
			return
		}
	}
	if ta, tb := compact(a), compact(b); ta != tb {
		*out = append(*out, Difference{Path: path, Theirs: ta, Ours: tb})
	}
}

func presence(v any, in bool) string {
	if !in {
		return "(absent)"
	}
	return compact(v)
}
