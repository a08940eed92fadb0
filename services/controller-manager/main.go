// Command controller-manager runs the controllers that bring the cluster to the
// state that its objects ask for.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"coracle.local/libs/flags"
	"coracle.local/services/controller-manager/app"
)

func main() {
	log, err := zap.NewProduction()
	if err != nil {
		fmt.Fprintln(os.Stderr, "controller-manager:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, log.Named("controller-manager"), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "controller-manager:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *zap.Logger, args []string) error {
	var f app.Flags
	fs := pflag.NewFlagSet("controller-manager", pflag.ContinueOnError)
	f.Add(fs)
	if err := flags.Parse(fs, args, log); err != nil {
		return err
	}
	cfg, err := f.Config(log)
	if err != nil {
		return err
	}
	return app.Run(ctx, cfg)
}
