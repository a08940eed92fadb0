// Package encryption keeps stored values unreadable to whoever reads etcd, by
// the providers of an encryption configuration. Upstream's server reads what it
// writes, and the other way round.
package encryption

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/storage/value"
)

// reloadEvery is how often the file is looked at: upstream's.
const reloadEvery = time.Minute

// Config says where the configuration is and what keys of etcd are of.
type Config struct {
	Log *zap.Logger
	// Path of the EncryptionConfiguration.
	Path string
	// Reload follows changes of the file.
	Reload bool
	// ResourceOf tells the resource that a key of etcd belongs to.
	ResourceOf func(key string) schema.GroupResource
	// Every is how often the file is looked at; zero is once a minute.
	Every time.Duration
}

// Values seals what is written and opens what is read. Open one with Load; it
// implements etcd.Values.
type Values struct {
	cfg     Config
	lasting context.Context // ends with the server, and with it the KMS connections
	current atomic.Pointer[providers]

	// failed is set by a value that could not be opened, which may be readable
	// with another configuration; waiting by one that only needs a service to be
	// back.
	failed, waiting atomic.Bool
	reread          func()
}

// Load reads the configuration. Connections to key management services last
// until ctx ends. A service that does not answer is no error: it may come later.
func Load(ctx context.Context, cfg Config) (*Values, error) {
	if cfg.Every == 0 {
		cfg.Every = reloadEvery
	}
	v := &Values{cfg: cfg, lasting: ctx}
	p, err := v.load(nil)
	if err != nil {
		return nil, err
	}
	v.current.Store(p)
	return v, nil
}

// load reads the file; nil if it is as it was.
func (v *Values) load(have *providers) (*providers, error) {
	raw, err := os.ReadFile(v.cfg.Path)
	if err == nil && len(raw) == 0 {
		return nil, fmt.Errorf("error while parsing file: error while loading file: encryption provider configuration file %q is empty", v.cfg.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("error while parsing file: error while loading file: error reading encryption provider configuration file %q: %w", v.cfg.Path, err)
	}
	hash := fmt.Sprintf("sha256:%x", sha256.Sum256(raw))
	if have != nil && have.hash == hash {
		return nil, nil
	}
	c, err := parse(raw, v.cfg.Path, v.cfg.Reload)
	if err != nil {
		return nil, fmt.Errorf("error while parsing file: %w", err)
	}
	ctx, cancel := context.WithCancel(v.lasting)
	p, err := build(ctx, c, v.cfg.Log)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("error while building transformers: %w", err)
	}
	p.hash, p.close = hash, cancel
	return p, nil
}

// OnReadable names what is to be done when values that could not be opened may
// be readable. Call it before Run.
func (v *Values) OnReadable(reread func()) { v.reread = reread }

// Run keeps the keys of key management services fresh, and follows the file if
// it is to be followed.
func (v *Values) Run(ctx context.Context) error {
	for {
		p := v.current.Load()
		keeping, cancel := context.WithCancel(ctx)
		kept := make(chan struct{})
		go func() {
			defer close(kept)
			p.keep(keeping, func() { v.readable(&v.waiting) })
		}()
		next := v.follow(ctx, p)
		cancel()
		<-kept
		if next == nil {
			return nil
		}
		v.current.Store(next)
		v.cfg.Log.Info("encryption configuration was loaded again", zap.String("hash", next.hash))
		v.readable(&v.failed)
		// Requests on their way may still need the old ones.
		time.AfterFunc(p.grace, p.close)
	}
}

// follow returns the next configuration, nil when ctx ends.
func (v *Values) follow(ctx context.Context, have *providers) *providers {
	if !v.cfg.Reload {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(v.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		next, err := v.load(have)
		if err == nil && next != nil {
			// One whose services do not answer would make a bad thing worse.
			if err = next.check(ctx); err != nil {
				next.close()
				next = nil
			}
		}
		if err != nil {
			v.cfg.Log.Error("encryption configuration is not loaded again", zap.String("path", v.cfg.Path), zap.Error(err))
		}
		if next != nil {
			return next
		}
	}
}

// readable has everything read again if something was missing.
func (v *Values) readable(missing *atomic.Bool) {
	if missing.Load() && v.reread != nil {
		v.failed.Store(false)
		v.waiting.Store(false)
		v.reread()
	}
}

// Check is the health of the key management services.
func (v *Values) Check(ctx context.Context) error { return v.current.Load().check(ctx) }

// Checked tells whether there is anything that Check could find ill.
func (v *Values) Checked() bool { return v.cfg.Reload || len(v.current.Load().services) > 0 }

// Seal makes of an object's encoding what is stored at a key.
func (v *Values) Seal(ctx context.Context, key string, plain []byte) ([]byte, error) {
	t := v.current.Load().of(v.cfg.ResourceOf(key))
	return t.TransformToStorage(ctx, plain, value.DefaultContext(key))
}

// Open is the reverse of Seal. stale tells that the value would be sealed
// otherwise today.
func (v *Values) Open(ctx context.Context, key string, sealed []byte) (plain []byte, stale bool, err error) {
	t := v.current.Load().of(v.cfg.ResourceOf(key))
	plain, stale, err = t.TransformFromStorage(ctx, sealed, value.DefaultContext(key))
	if err != nil {
		v.failed.Store(true)
		if v.Passing(err) {
			v.waiting.Store(true)
		}
	}
	return plain, stale, err
}

// Passing tells whether a failure to open says that a service cannot be
// reached, and nothing about the value.
func (v *Values) Passing(err error) bool {
	var many utilerrors.Aggregate
	if errors.As(err, &many) {
		for _, one := range many.Errors() {
			if v.Passing(one) {
				return true
			}
		}
		return false
	}
	s, ok := status.FromError(err)
	return errors.Is(err, errNoSeed) || ok && (s.Code() == codes.Unavailable || s.Code() == codes.DeadlineExceeded || s.Code() == codes.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
