package app

import (
	"context"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"coracle.local/services/apiserver/internal/audit"
)

// Audit says what is recorded of requests, and where; the zero value is
// nothing.
type Audit struct{ audit.Config }

// DefaultAudit records nothing either, and has upstream's values for all but
// the files.
func DefaultAudit() Audit { return Audit{audit.DefaultConfig()} }

// Add declares the flags.
func (a *Audit) Add(fs *pflag.FlagSet) {
	*a = DefaultAudit()
	fs.StringVar(&a.PolicyFile, "audit-policy-file", "", "what is recorded of which requests")

	l := &a.Log
	fs.StringVar(&l.Path, "audit-log-path", "", "the file to record requests in; - is the standard output")
	fs.IntVar(&l.MaxAge, "audit-log-maxage", l.MaxAge, "days that older files are kept; 0 is for ever")
	fs.IntVar(&l.MaxBackups, "audit-log-maxbackup", l.MaxBackups, "older files that are kept; 0 is all")
	fs.IntVar(&l.MaxSize, "audit-log-maxsize", l.MaxSize, "megabytes after which another file is begun; 0 is never")
	fs.BoolVar(&l.Compress, "audit-log-compress", l.Compress, "compress older files")
	fs.StringVar(&l.Format, "audit-log-format", l.Format, "json, or legacy for a line of text an event")
	fs.StringVar(&l.Version, "audit-log-version", l.Version, "group and version of events in the file")
	addDelivery(fs, "log", &l.Delivery)

	w := &a.Webhook
	fs.StringVar(&w.ConfigFile, "audit-webhook-config-file", "", "a kubeconfig of where to post events")
	fs.DurationVar(&w.InitialBackoff, "audit-webhook-initial-backoff", w.InitialBackoff, "wait before the first retry")
	fs.DurationVar(&w.InitialBackoff, "audit-webhook-batch-initial-backoff", w.InitialBackoff, "wait before the first retry")
	_ = fs.MarkDeprecated("audit-webhook-batch-initial-backoff", "use --audit-webhook-initial-backoff instead")
	fs.StringVar(&w.Version, "audit-webhook-version", w.Version, "group and version of events that are posted")
	addDelivery(fs, "webhook", &w.Delivery)
}

func addDelivery(fs *pflag.FlagSet, plugin string, d *audit.Delivery) {
	prefix := "audit-" + plugin + "-"
	fs.StringVar(&d.Mode, prefix+"mode", d.Mode, "when events are handed over: "+strings.Join(audit.Modes, ", "))
	b := &d.Batch
	fs.IntVar(&b.BufferSize, prefix+"batch-buffer-size", b.BufferSize, "events that may wait, in batch mode")
	fs.IntVar(&b.MaxBatchSize, prefix+"batch-max-size", b.MaxBatchSize, "events that are handed over at once, in batch mode")
	fs.DurationVar(&b.MaxBatchWait, prefix+"batch-max-wait", b.MaxBatchWait, "the longest that an event waits, in batch mode")
	fs.BoolVar(&b.ThrottleEnable, prefix+"batch-throttle-enable", b.ThrottleEnable, "bound the rate of batches")
	fs.Float32Var(&b.ThrottleQPS, prefix+"batch-throttle-qps", b.ThrottleQPS, "batches a second")
	fs.IntVar(&b.ThrottleBurst, prefix+"batch-throttle-burst", b.ThrottleBurst, "batches at the same moment")
	fs.BoolVar(&d.TruncateLong, prefix+"truncate-enabled", d.TruncateLong, "shorten events that are too long")
	t := &d.TruncateConfig
	fs.Int64Var(&t.MaxBatchSize, prefix+"truncate-max-batch-size", t.MaxBatchSize, "bytes of a batch")
	fs.Int64Var(&t.MaxEventSize, prefix+"truncate-max-event-size", t.MaxEventSize, "bytes of an event")
}

// record makes what records requests, if anything is recorded.
func (s *server) record() (err error) {
	if s.audit, err = audit.Open(s.cfg.Audit.Config); err != nil {
		return err
	}
	if s.audit != nil {
		s.cfg.Log.Info("requests are recorded", zap.String("policy", s.cfg.Audit.PolicyFile))
	}
	return nil
}

// deliver hands events over until ctx ends.
func (s *server) deliver(ctx context.Context) error {
	if s.audit == nil {
		return nil
	}
	return s.audit.Run(ctx)
}
