package flags

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const list = `
audit-log-path string
profiling
feature-gates mapStringBool
v v level
own string
`

func TestAccept(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		own    string
		warned []string
		wrong  string
	}{
		{name: "ours has effect", args: []string{"--own=x"}, own: "x"},
		{name: "upstream's with a value after =", args: []string{"--audit-log-path=-", "--own", "x"}, own: "x", warned: []string{"audit-log-path"}},
		{name: "upstream's with a value of its own", args: []string{"--audit-log-path", "own", "--own", "x"}, own: "x", warned: []string{"audit-log-path"}},
		{name: "a boolean takes no value of its own", args: []string{"--profiling", "--own", "x"}, own: "x", warned: []string{"profiling"}},
		{name: "a boolean with a value", args: []string{"--profiling=false"}, warned: []string{"profiling"}},
		{name: "underscores", args: []string{"--audit_log_path=x"}, warned: []string{"audit-log-path"}},
		{name: "the short form", args: []string{"-v", "4"}, warned: []string{"v"}},
		{name: "the short form at once", args: []string{"-v=4"}, warned: []string{"v"}},
		{name: "nothing is said", args: []string{"--feature-gates="}},
		{name: "given twice, warned of once", args: []string{"--audit-log-path=a", "--audit-log-path=b"}, warned: []string{"audit-log-path"}},
		{name: "unknown", args: []string{"--nonsense=1"}, wrong: "unknown flag: --nonsense"},
		{name: "unknown, short", args: []string{"-x"}, wrong: `unknown shorthand flag: 'x' in -x`},
		{name: "without its value", args: []string{"--audit-log-path"}, wrong: "flag needs an argument: --audit-log-path"},
		{name: "no flag", args: []string{"--own=x", "serve"}, own: "x", wrong: `"kube-apiserver" does not take any arguments, got ["serve"]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fs := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
			fs.SetOutput(discard{})
			own := fs.String("own", "", "")
			Accept(fs, list)
			core, logs := observer.New(zap.WarnLevel)
			err := Parse(fs, test.args, zap.New(core))
			if got := message(err); got != test.wrong {
				t.Fatalf("error %q, want %q", got, test.wrong)
			}
			var warned []string
			for _, e := range logs.All() {
				warned = append(warned, e.ContextMap()["flag"].(string))
			}
			if *own != test.own || !slices.Equal(warned, test.warned) {
				t.Errorf("own %q, warned of %q", *own, warned)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
