package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/aggregate"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/registry"
)

// proxyFlags name the certificate that other API servers trust.
type proxyFlags struct{ cert, key string }

func (f *proxyFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.cert, "proxy-client-cert-file", "", "the certificate to show aggregated API servers")
	fs.StringVar(&f.key, "proxy-client-key-file", "", "the key of --proxy-client-cert-file")
}

func (f *proxyFlags) read(cfg *Config) (err error) {
	switch {
	case f.cert == "" && f.key == "":
		return nil
	case f.cert == "" || f.key == "":
		return errors.New("--proxy-client-cert-file and --proxy-client-key-file must be specified together")
	}
	if cfg.ProxyClient, err = tls.LoadX509KeyPair(f.cert, f.key); err != nil {
		return fmt.Errorf("read --proxy-client-cert-file and --proxy-client-key-file: %w", err)
	}
	return nil
}

// newAggregator makes what serves the groups of other API servers.
func (s *server) newAggregator() *aggregate.Aggregator {
	return aggregate.New(aggregate.Config{
		Log: s.cfg.Log.Named("aggregate"), Objects: s.cache, Catalog: s.registry.Catalog,
		Writer: apiServices{s.registry, managed.New(s.registry)}, Backends: s.backends, Client: s.cfg.ProxyClient,
	})
}

// apiServices writes APIServices on the server's own behalf.
type apiServices struct {
	registry *registry.Registry
	managed  *managed.Managers
}

// itself is the program that has set what the server sets.
const itself = "kube-apiserver"

func (a apiServices) kind() *kinds.Kind { return kinds.For[*apiregistrationv1.APIService]() }

func (a apiServices) Create(ctx context.Context, s *apiregistrationv1.APIService) error {
	_, err := a.registry.Create(auth.WithUser(ctx, loopback), a.kind(), "", s, registry.WriteOptions{})
	return err
}

func (a apiServices) Update(ctx context.Context, name, subresource string, change func(*apiregistrationv1.APIService)) error {
	_, _, err := a.registry.Update(auth.WithUser(ctx, loopback), a.kind(), "", name, subresource, func(current kinds.Object) (kinds.Object, error) {
		next := current.DeepCopyObject().(*apiregistrationv1.APIService)
		change(next)
		a.managed.Updated(a.kind(), subresource, current, next, itself)
		return next, nil
	}, registry.UpdateOptions{Unconditional: true})
	return err
}

func (a apiServices) Delete(ctx context.Context, s *apiregistrationv1.APIService) error {
	_, _, err := a.registry.Delete(auth.WithUser(ctx, loopback), a.kind(), "", s.Name, &metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &s.UID},
	})
	return err
}

// aggregate keeps the aggregator from the moment that the cluster is prepared.
func (s *server) aggregate(ctx context.Context) error { return s.aggregator.Run(ctx, s.ready) }
