package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/webhook"
)

// The modes of delivery: later and together, at once, and at once with the
// request refused if that fails.
const (
	Batch          = "batch"
	Blocking       = "blocking"
	BlockingStrict = "blocking-strict"
)

// Modes are all of them.
var Modes = []string{Batch, Blocking, BlockingStrict}

// Validate finds what is wrong, in upstream's words.
func (c *Config) Validate() error {
	var errs []error
	if l := &c.Log; l.Path != "" {
		errs = append(errs, l.Delivery.validate(auditlog.PluginName)...)
		errs = append(errs, validateVersion(l.Version))
		if !slices.Contains(auditlog.AllowedFormats, l.Format) {
			errs = append(errs, fmt.Errorf("invalid audit log format %s, allowed formats are %q", l.Format, strings.Join(auditlog.AllowedFormats, ",")))
		}
		for _, bound := range []struct {
			name string
			is   int
		}{{"maxage", l.MaxAge}, {"maxbackup", l.MaxBackups}, {"maxsize", l.MaxSize}} {
			if bound.is < 0 {
				errs = append(errs, fmt.Errorf("--audit-log-%s %v can't be a negative number", bound.name, bound.is))
			}
		}
	}
	if w := &c.Webhook; w.ConfigFile != "" {
		errs = append(errs, w.Delivery.validate(webhook.PluginName)...)
		errs = append(errs, validateVersion(w.Version))
	}
	return errors.Join(errs...)
}

func (d *Delivery) validate(plugin string) []error {
	var errs []error
	if err := d.validateBatch(plugin); err != nil {
		errs = append(errs, err)
	}
	switch t := &d.TruncateConfig; {
	case t.MaxEventSize <= 0:
		errs = append(errs, fmt.Errorf("invalid audit truncate %s max event size %v, must be a positive number", plugin, t.MaxEventSize))
	case t.MaxBatchSize < t.MaxEventSize:
		errs = append(errs, fmt.Errorf("invalid audit truncate %s max batch size %v, must be greater than max event size (%v)", plugin, t.MaxBatchSize, t.MaxEventSize))
	}
	return errs
}

func (d *Delivery) validateBatch(plugin string) error {
	b := &d.Batch
	switch {
	case !slices.Contains(Modes, d.Mode):
		return fmt.Errorf("invalid audit %s mode %s, allowed modes are %q", plugin, d.Mode, strings.Join(Modes, ","))
	case d.Mode != Batch:
		return nil
	case b.BufferSize <= 0:
		return fmt.Errorf("invalid audit batch %s buffer size %v, must be a positive number", plugin, b.BufferSize)
	case b.MaxBatchSize <= 0:
		return fmt.Errorf("invalid audit batch %s max batch size %v, must be a positive number", plugin, b.MaxBatchSize)
	case b.ThrottleEnable && b.ThrottleQPS <= 0:
		return fmt.Errorf("invalid audit batch %s throttle QPS %v, must be a positive number", plugin, b.ThrottleQPS)
	case b.ThrottleEnable && b.ThrottleBurst <= 0:
		return fmt.Errorf("invalid audit batch %s throttle burst %v, must be a positive number", plugin, b.ThrottleBurst)
	}
	return nil
}

func validateVersion(version string) error {
	gv, err := schema.ParseGroupVersion(version)
	if err != nil {
		return err
	}
	if gv != auditv1.SchemeGroupVersion {
		return fmt.Errorf("invalid group version, allowed versions are %q", []schema.GroupVersion{auditv1.SchemeGroupVersion})
	}
	return nil
}
