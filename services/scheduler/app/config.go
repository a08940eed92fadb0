// Package app is the scheduler as others start it: a Config and Run.
package app

import (
	"crypto/tls"
	"errors"
	"net"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"

	"coracle.local/libs/client"
	"coracle.local/libs/election"
	"coracle.local/libs/trace"
)

// Config is everything a scheduler needs; what has no default must be set.
type Config struct {
	Log *zap.Logger
	// Conn is a connection to the API server; nil makes one from Kubeconfig.
	Conn       *client.Conn
	Kubeconfig string
	// Listener is the port for gRPC, health and metrics; Run owns it. Nil serves
	// nothing.
	Listener net.Listener
	// TLS of the port.
	TLS *tls.Config
	// Allow decides who may call; nil allows the group system:masters.
	Allow func(user.Info) bool
	// Profiling serves /debug/pprof/ to those who may call.
	Profiling bool
	// SchedulerName is the spec.schedulerName that is answered to; by default
	// default-scheduler.
	SchedulerName string
	// Tracer records the steps of a pod. Nil makes one that reports to the API
	// server if Conn is nil too, and else none.
	Tracer *trace.Tracer
	// Election, if set, has several schedulers agree on who of them works.
	Election *election.Config
	// Clock is the real one by default.
	Clock clock.Clock
}

// Validate says what is missing.
func (c *Config) Validate() error {
	switch {
	case c.Log == nil:
		return errors.New("the scheduler needs a logger")
	case c.Conn == nil && c.Kubeconfig == "":
		return errors.New("the scheduler needs a way to the API server: set --kubeconfig")
	case c.Election != nil && c.Election.Identity == "":
		return errors.New("the scheduler needs an identity to stand for election")
	}
	return nil
}

func (c *Config) complete() {
	if c.SchedulerName == "" {
		c.SchedulerName = corev1.DefaultSchedulerName
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	c.Election = c.Election.WithDefaults("kube-scheduler")
}
