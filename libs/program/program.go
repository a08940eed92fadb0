// Package program is what the main functions of all programs do.
package program

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// settled is when a program is taken to have started, and its caches to be filled.
const settled = 5 * time.Second

// Main runs a program with this process's arguments and a logger of its name,
// until it is done or a signal asks it to end. An error is written to standard
// error, and ends the process with status 1.
func Main(name string, run func(ctx context.Context, log *zap.Logger, name string, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log, err := zap.NewProduction()
	if err == nil {
		time.AfterFunc(settled, func() {
			if err := unmapImage(); err != nil {
				log.Warn("memory that only start-up needed was kept", zap.Error(err))
			}
		})
		err = run(ctx, log.Named(name), name, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
