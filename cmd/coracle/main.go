// Command coracle is a whole Kubernetes in one process, and the command line for
// what kubectl does not do.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"coracle.local/cmd/coracle/dropin"
	"coracle.local/libs/program"
)

func main() {
	if name, role, ok := dropin.Named(os.Args[0]); ok {
		program.Main(name, role)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "coracle",
		Short:         "Kubernetes you can carry",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(upCommand(), dropinCommand(), pkiCommand(), traceCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "coracle:", err)
		os.Exit(1)
	}
}
