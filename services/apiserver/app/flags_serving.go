package app

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// servingFlags are how the server is known and what it keeps.
type servingFlags struct {
	prefix, backend string
	eventTTL        time.Duration
	external        string
	streams         uint32
}

func (f *servingFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.prefix, "etcd-prefix", "/registry", "where etcd keeps the objects; no other place is possible")
	fs.StringVar(&f.backend, "storage-backend", "", "etcd3, the only one")
	fs.DurationVar(&f.eventTTL, "event-ttl", time.Hour, "how long events are kept")
	fs.StringVar(&f.external, "external-hostname", "", "the host by which others find the keys of service account tokens (default: the advertised address)")
	fs.Uint32Var(&f.streams, "http2-max-streams-per-connection", 0, "requests at a time over one connection (default: 1000)")
}

func (f *servingFlags) apply(cfg *Config) error {
	// To go on at another place than was asked for would mix clusters that share
	// an etcd.
	if strings.Trim(f.prefix, "/") != "registry" {
		return fmt.Errorf("--etcd-prefix=%s: objects are kept under /registry alone", f.prefix)
	}
	if f.backend != "" && f.backend != "etcd3" {
		return fmt.Errorf("--storage-backend invalid, allowed values: etcd3. If not specified, it will default to 'etcd3'")
	}
	cfg.EventTTL, cfg.ExternalHost, cfg.MaxStreams = f.eventTTL, f.external, f.streams
	return nil
}
