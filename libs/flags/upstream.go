package flags

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
)

// Accept declares the flags of upstream's binary that fs does not have: they are
// taken, and Parse warns of each that is given. What is in neither is then an
// error, as in upstream's binary. The list has one flag in a line, as --help
// shows it: the name, then the kind of value, nothing for a boolean; a single
// letter before the name is its short form.
func Accept(fs *pflag.FlagSet, list string) {
	for line := range strings.SplitSeq(list, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		short := ""
		if len(words[0]) == 1 {
			short, words = words[0], words[1:]
		}
		name := words[0]
		if fs.Lookup(name) != nil {
			continue
		}
		v := &ignored{kind: strings.Join(words[1:], " ")}
		f := fs.VarPF(v, name, short, "taken for upstream's sake, without effect")
		f.Hidden = true
		if v.kind == "" {
			v.kind, f.NoOptDefVal = "bool", "true"
		}
	}
}

// ignored is a flag that does not apply here.
type ignored struct{ kind, value string }

func (i *ignored) String() string     { return i.value }
func (i *ignored) Type() string       { return i.kind }
func (i *ignored) Set(s string) error { i.value = s; return nil }

// accepts tells whether Accept was called.
func accepts(fs *pflag.FlagSet) bool {
	found := false
	fs.VisitAll(func(f *pflag.Flag) {
		_, ok := f.Value.(*ignored)
		found = found || ok
	})
	return found
}

// warn tells of each flag that is given and does not apply. One that says
// nothing (--feature-gates="") is no reason to.
func warn(fs *pflag.FlagSet, log *zap.Logger) {
	fs.Visit(func(f *pflag.Flag) {
		if i, ok := f.Value.(*ignored); ok && i.value != "" {
			log.Warn("flag does not apply here and is ignored", zap.String("flag", f.Name))
		}
	})
}

// misplaced is the error about an argument that is no flag, in the words of
// upstream's commands.
func misplaced(fs *pflag.FlagSet, args []string) error {
	return fmt.Errorf("%q does not take any arguments, got %q", fs.Name(), args)
}
