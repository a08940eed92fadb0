// Package audit records what is asked of the server, by whom, and how it ended,
// as an audit policy says, in a file and to a webhook.
package audit

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	k8saudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/truncate"
	"k8s.io/apiserver/plugin/pkg/audit/webhook"
)

// Config says what is recorded and where. Without a policy, or without a place,
// nothing is.
type Config struct {
	PolicyFile string
	Log        Log
	Webhook    Webhook
}

// Log writes events to a file, or to the standard output if Path is "-".
type Log struct {
	Path string
	// MaxAge in days, MaxBackups in files and MaxSize in megabytes bound what is
	// kept; zero is no bound.
	MaxAge, MaxBackups, MaxSize int
	Compress                    bool
	// Format is json or legacy.
	Format   string
	Version  string
	Delivery Delivery
}

// Webhook posts events to where a kubeconfig says.
type Webhook struct {
	ConfigFile     string
	InitialBackoff time.Duration
	Version        string
	Delivery       Delivery
}

// Delivery says when events are handed over, and how long they may be.
type Delivery struct {
	// Mode is batch, blocking or blocking-strict.
	Mode           string
	Batch          buffered.BatchConfig
	TruncateLong   bool
	TruncateConfig truncate.Config
}

// DefaultConfig is upstream's, and records nothing.
func DefaultConfig() Config {
	long := truncate.Config{MaxBatchSize: 10 << 20, MaxEventSize: 100 << 10}
	return Config{
		Log: Log{
			MaxAge: 366, MaxBackups: 100, MaxSize: 100, Format: auditlog.FormatJson, Version: auditv1.SchemeGroupVersion.String(),
			Delivery: Delivery{Mode: Blocking, Batch: buffered.BatchConfig{BufferSize: 10000, MaxBatchSize: 1}, TruncateConfig: long},
		},
		Webhook: Webhook{
			InitialBackoff: webhook.DefaultInitialBackoffDelay, Version: auditv1.SchemeGroupVersion.String(),
			Delivery: Delivery{
				Mode: Batch,
				Batch: buffered.BatchConfig{
					BufferSize: 10000, MaxBatchSize: 400, MaxBatchWait: 30 * time.Second,
					ThrottleEnable: true, ThrottleQPS: 10, ThrottleBurst: 15, AsyncDelegate: true,
				},
				TruncateConfig: long,
			},
		},
	}
}

// Auditor records requests. Make it with Open, and Run it.
type Auditor struct {
	policy  k8saudit.PolicyRuleEvaluator
	backend k8saudit.Backend
	// close closes the file; nil if there is none.
	close func() error
}

// Open makes what the configuration asks for; nil if that is nothing.
func Open(c Config) (*Auditor, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.PolicyFile == "" || c.Log.Path == "" && c.Webhook.ConfigFile == "" {
		return nil, nil
	}
	rules, err := policy.LoadPolicyFromFile(c.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("loading audit policy file: %w", err)
	}
	a := &Auditor{policy: policy.NewPolicyRuleEvaluator(rules)}
	var backends []k8saudit.Backend
	if c.Log.Path != "" {
		b, err := a.log(&c.Log)
		if err != nil {
			return nil, err
		}
		backends = append(backends, b)
	}
	if c.Webhook.ConfigFile != "" {
		b, err := webhook.NewBackend(c.Webhook.ConfigFile, auditv1.SchemeGroupVersion,
			webhookutil.DefaultRetryBackoffWithInitialDelay(c.Webhook.InitialBackoff), nil)
		if err != nil {
			return nil, fmt.Errorf("initializing audit webhook: %w", err)
		}
		backends = append(backends, c.Webhook.Delivery.wrap(b))
	}
	a.backend = k8saudit.Union(backends...)
	return a, nil
}

func (a *Auditor) log(c *Log) (k8saudit.Backend, error) {
	out, err := c.open()
	if err != nil {
		return nil, err
	}
	if closer, ok := out.(io.Closer); ok && out != os.Stdout {
		a.close = closer.Close
	}
	return c.Delivery.wrap(auditlog.NewBackend(out, c.Format, auditv1.SchemeGroupVersion)), nil
}

func (c *Log) open() (io.Writer, error) {
	if c.Path == "-" {
		return os.Stdout, nil
	}
	if err := os.MkdirAll(filepath.Dir(c.Path), 0o700); err != nil {
		return nil, fmt.Errorf("ensureLogFile: %w", err)
	}
	// The rotating writer would find out only with the first event.
	f, err := os.OpenFile(c.Path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ensureLogFile: %w", err)
	}
	if c.MaxSize == 0 {
		return f, nil
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("ensureLogFile: %w", err)
	}
	return &lumberjack.Logger{Filename: c.Path, MaxAge: c.MaxAge, MaxBackups: c.MaxBackups, MaxSize: c.MaxSize, Compress: c.Compress}, nil
}

// wrap makes a backend deliver as configured.
func (d *Delivery) wrap(b k8saudit.Backend) k8saudit.Backend {
	switch d.Mode {
	case Blocking:
		b = lenient{b}
	case Batch:
		b = buffered.NewBackend(b, d.Batch)
	}
	if d.TruncateLong {
		b = truncate.NewBackend(b, d.TruncateConfig, auditv1.SchemeGroupVersion)
	}
	return b
}

// lenient lets requests go on that could not be recorded.
type lenient struct{ k8saudit.Backend }

func (l lenient) ProcessEvents(events ...*auditinternal.Event) bool {
	l.Backend.ProcessEvents(events...)
	return true
}

// lastDelivery bounds what is delivered at the end: a webhook that does not answer
// must not keep the server from stopping.
const lastDelivery = 5 * time.Second

// Run delivers until ctx ends, and then what is left.
func (a *Auditor) Run(ctx context.Context) error {
	if err := a.backend.Run(ctx.Done()); err != nil {
		return fmt.Errorf("run the audit backends: %w", err)
	}
	<-ctx.Done()
	delivered := make(chan struct{})
	go func() { defer close(delivered); a.backend.Shutdown() }()
	select {
	case <-delivered:
	case <-time.After(lastDelivery):
	}
	if a.close != nil {
		return a.close()
	}
	return nil
}
