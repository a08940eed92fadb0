// Command kubelet runs a node's pods.
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
	"coracle.local/services/kubelet/app"
)

func main() {
	log, err := zap.NewProduction()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubelet:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, log.Named("kubelet"), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kubelet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *zap.Logger, args []string) error {
	var f app.Flags
	fs := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	f.Add(fs)
	if err := flags.Parse(fs, args, log); err != nil {
		return err
	}
	cfg, err := f.Config(fs, log)
	if err != nil {
		return err
	}
	return app.Run(ctx, cfg)
}
