package election

import (
	"fmt"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/pflag"
)

// Flags are upstream's for an election.
type Flags struct {
	Elect  bool
	config Config
}

// Add declares the flags of a component of that name; what is many of it.
func (f *Flags) Add(fs *pflag.FlagSet, component, what string) {
	fs.BoolVar(&f.Elect, "leader-elect", true, "work only while holding a Lease, so that several "+what+" can run")
	fs.StringVar(&f.config.Name, "leader-elect-resource-name", component, "the Lease's name")
	fs.StringVar(&f.config.Namespace, "leader-elect-resource-namespace", "kube-system", "the Lease's namespace")
	fs.DurationVar(&f.config.LeaseDuration, "leader-elect-lease-duration", 0, "how long a silent leader stays leader (default 15s)")
	fs.DurationVar(&f.config.RenewDeadline, "leader-elect-renew-deadline", 0, "how long a leader tries to renew before it gives up (default 10s)")
	fs.DurationVar(&f.config.RetryPeriod, "leader-elect-retry-period", 0, "how often candidates try (default 2s)")
}

// Config is what the flags say, with an identity of this process's own; nil if
// there is no election.
func (f *Flags) Config() (*Config, error) {
	if !f.Elect {
		return nil, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("the host name: %w", err)
	}
	f.config.Identity = host + "_" + uuid.NewString()
	return &f.config, nil
}
