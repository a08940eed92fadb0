package differential

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed differences.yaml
var differencesFile []byte

// Known is a difference that is there for a reason.
type Known struct {
	// Group is the API group, Request and Path are what it is about: regular
	// expressions over the whole of a Difference's Request and Path.
	Group   string `json:"group"`
	Request string `json:"request"`
	Path    string `json:"path"`
	// What differs, and why.
	What   string `json:"what"`
	Reason string `json:"reason"`

	request, path *regexp.Regexp
}

// KnownDifferences reads the table.
func KnownDifferences() ([]*Known, error) {
	var out []*Known
	if err := yaml.UnmarshalStrict(differencesFile, &out); err != nil {
		return nil, fmt.Errorf("differences.yaml: %w", err)
	}
	for i, k := range out {
		if k.Group == "" || k.What == "" || k.Reason == "" {
			return nil, fmt.Errorf("differences.yaml: entry %d lacks its group, what, or reason", i+1)
		}
		var err error
		if k.request, err = regexp.Compile("^(?:" + k.Request + ")$"); err != nil {
			return nil, fmt.Errorf("differences.yaml: entry %d: %w", i+1, err)
		}
		if k.path, err = regexp.Compile("^(?:" + k.Path + ")$"); err != nil {
			return nil, fmt.Errorf("differences.yaml: entry %d: %w", i+1, err)
		}
	}
	return out, nil
}

// Covers tells whether a difference is this one.
func (k *Known) Covers(d Difference) bool {
	return k.request.MatchString(d.Request) && k.path.MatchString(d.Path)
}

// Table is the known differences as docs/differences.md has them.
func Table(known []*Known) string {
	if len(known) == 0 {
		return "There is none.\n"
	}
	var b strings.Builder
	b.WriteString("| group | what differs | why |\n|---|---|---|\n")
	for _, k := range known {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", k.Group, k.What, k.Reason)
	}
	return b.String()
}
