// Package flags reads a service's command line as upstream's binaries do: a
// flag that upstream has and that does not apply here is accepted with a
// warning, so that our binary can stand where upstream's stood.
package flags

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
)

// Version is upstream's version, whose behaviour this is.
const Version = "v1.37.2"

// Parse parses args into fs. Where upstream's flags are known (Accept) an unknown
// flag is an error; else it is dropped with one warning, and taken to have a
// value when the next argument is not a flag and no "=" gives one. Arguments that
// are no flags are an error. --help and --version end the process once they were
// answered, as pflag's own ExitOnError does.
func Parse(fs *pflag.FlagSet, args []string, log *zap.Logger) error {
	if slices.Contains(args, "--version") || slices.Contains(args, "--version=true") {
		fmt.Println("Kubernetes " + Version)
		os.Exit(0)
	}
	fs.SortFlags = false
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	known, ignored := args, []string(nil)
	strict := accepts(fs)
	if !strict {
		known, ignored = split(fs, args)
	}
	err := fs.Parse(known)
	if errors.Is(err, pflag.ErrHelp) {
		os.Exit(0) // the usage was printed
	}
	if err != nil {
		return err
	}
	warn(fs, log)
	if rest := fs.Args(); len(rest) > 0 {
		if strict {
			return misplaced(fs, rest)
		}
		return fmt.Errorf("unknown argument %q: only flags are taken, see --help", rest[0])
	}
	for _, name := range ignored {
		log.Warn("flag does not apply here and is ignored", zap.String("flag", name))
	}
	return nil
}

func split(fs *pflag.FlagSet, args []string) (known, ignored []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if !strings.HasPrefix(a, "-") || a == "-" || a == "--" {
			known = append(known, a)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(a, "-"), "=")
		next := i+1 < len(args) && !strings.HasPrefix(args[i+1], "-")
		f := fs.Lookup(name)
		if f == nil && !strings.HasPrefix(a, "--") && len(name) > 0 {
			f = fs.ShorthandLookup(name[:1])
		}
		switch {
		case f != nil, name == "help", name == "h":
			known = append(known, a)
			if f != nil && !hasValue && f.NoOptDefVal == "" && next {
				i++
				known = append(known, args[i])
			}
		default:
			ignored = append(ignored, name)
			if !hasValue && next {
				i++
			}
		}
	}
	return known, ignored
}
