// Package store runs etcd in this process and hands out a client that calls it
// without a network.
package store

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
)

// Etcd keeps one node only, so a short tick costs nothing and lets it elect
// itself in a tenth of a second.
const (
	tickMs     = 10
	electionMs = 100
	// quota is the most bytes that etcd keeps, upstream's advised maximum.
	quota = 8 << 30
	// readyWithin is how long a start may take: a large log is replayed.
	readyWithin = time.Minute
)

// Config says where and how etcd keeps its data.
type Config struct {
	// Dir is the data folder; it is created.
	Dir string
	// Volatile skips fsync: right for data that nobody keeps.
	Volatile bool
	Log      *zap.Logger
}

// Store is a running etcd.
type Store struct {
	// Client calls the etcd in memory.
	Client *clientv3.Client
	// Endpoint is the socket at which other programs reach the etcd.
	Endpoint string

	etcd    *embed.Etcd
	sockets string
}

// Open starts etcd and waits until it serves. Close the store at the end.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create etcd's folder: %w", err)
	}
	// Nobody connects, but etcd listens all the same: on sockets in a folder of
	// its own, since a data folder's path may be too long for one.
	sockets, err := os.MkdirTemp("", "coracle-etcd-")
	if err != nil {
		return nil, fmt.Errorf("create etcd's socket folder: %w", err)
	}
	e, err := embed.StartEtcd(config(cfg, sockets))
	if err != nil {
		_ = os.RemoveAll(sockets)
		return nil, fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	}
	s := &Store{etcd: e, sockets: sockets, Endpoint: e.Config().ListenClientUrls[0].String()}
	select {
	case <-e.Server.ReadyNotify():
		s.Client = v3client.New(e.Server)
		return s, nil
	case err = <-e.Err():
	case <-time.After(readyWithin):
		err = fmt.Errorf("not ready after %s", readyWithin)
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.Close()
	return nil, fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
}

func config(cfg Config, sockets string) *embed.Config {
	c := embed.NewConfig()
	c.Name = "coracle"
	c.Dir = filepath.Join(cfg.Dir, "member-data")
	c.TickMs, c.ElectionMs = tickMs, electionMs
	c.UnsafeNoFsync = cfg.Volatile
	c.QuotaBackendBytes = quota
	client := url.URL{Scheme: "unix", Path: filepath.Join(sockets, "client:0")}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(sockets, "peer:0")}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.Name + "=" + peer.String()
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(quiet(cfg.Log))
	return c
}

// Close stops etcd.
func (s *Store) Close() {
	if s.Client != nil {
		_ = s.Client.Close()
	}
	s.etcd.Close()
	_ = os.RemoveAll(s.sockets)
}
