// Package program is what the main functions of all services do.
package program

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"
)

// Main runs a program with this process's arguments and a logger of its name,
// until it is done or a signal asks it to end. An error is written to standard
// error, and ends the process with status 1.
func Main(name string, run func(ctx context.Context, log *zap.Logger, name string, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log, err := zap.NewProduction()
	if err == nil {
		err = run(ctx, log.Named(name), name, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
