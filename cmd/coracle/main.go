// Command coracle is a whole Kubernetes in one process, and the command line for
// what kubectl does not do.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"coracle.local/cmd/coracle/dropin"
	"coracle.local/libs/program"
)

func main() {
	if name, role, ok := dropin.Named(os.Args[0]); ok {
		program.Main(name, role)
		return
	}
	program.Main("coracle", command)
}

func command(ctx context.Context, _ *zap.Logger, _ string, args []string) error {
	root := &cobra.Command{
		Use:           "coracle",
		Short:         "Kubernetes you can carry",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(upCommand(), dropinCommand(), pkiCommand(), traceCommand())
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}
