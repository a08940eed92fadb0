package authorization

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/spf13/pflag"

	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/upstream"
)

var flagLine = regexp.MustCompile(`(?m)^\s+(?:-(\w), )?--([\w-]+)(?: (\S+))?(?:\s{2,}|$)`)

// TestEachFlagIsTaken finds every flag of upstream's --help in ours, with a value
// where upstream's has one.
func TestEachFlagIsTaken(t *testing.T) {
	help, err := exec.Command(upstream.Server(t), "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, help)
	}
	fs := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	new(apiserver.Flags).Add(fs)
	n := 0
	for _, m := range flagLine.FindAllStringSubmatch(string(help), -1) {
		short, name, kind := m[1], m[2], m[3]
		if name == "help" {
			continue
		}
		n++
		f := fs.Lookup(name)
		switch {
		case f == nil:
			t.Errorf("--%s is not taken", name)
		case name == "version": // with and without a value
		case (f.NoOptDefVal == "") != (kind != ""):
			t.Errorf("--%s: upstream's value is %q, ours %q by default", name, kind, f.NoOptDefVal)
		case short != f.Shorthand && short != "h":
			t.Errorf("--%s: short form %q, upstream's %q", name, f.Shorthand, short)
		}
	}
	if n < 150 {
		t.Errorf("only %d flags were found", n)
	}
	t.Logf("all %d flags are taken", n)
}
