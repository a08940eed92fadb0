package app

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/encryption"
	"coracle.local/services/apiserver/internal/etcd"
	"coracle.local/services/apiserver/internal/front/rest/health"
)

// Encryption says what is sealed in etcd, and how.
type Encryption struct {
	// ConfigFile is an EncryptionConfiguration; empty leaves all as it is.
	ConfigFile string
	// Reload follows changes of the file.
	Reload bool
}

// Add declares the flags.
func (e *Encryption) Add(fs *pflag.FlagSet) {
	fs.StringVar(&e.ConfigFile, "encryption-provider-config", "", "the configuration of encryption at rest")
	fs.BoolVar(&e.Reload, "encryption-provider-config-automatic-reload", false, "follow changes of --encryption-provider-config")
}

func (e *Encryption) validate() error {
	if e.Reload && e.ConfigFile == "" {
		return errors.New("--encryption-provider-config-automatic-reload must be set with --encryption-provider-config")
	}
	return nil
}

// store is the etcd below the cache, with encryption if there is any.
func (s *server) store(ctx context.Context) (*etcd.Store, error) {
	store := etcd.New(s.cfg.Etcd)
	if err := s.cfg.Encryption.validate(); err != nil {
		return nil, err
	}
	if s.cfg.Encryption.ConfigFile == "" {
		return store, nil
	}
	values, err := encryption.Load(ctx, encryption.Config{
		Log: s.cfg.Log.Named("encryption"), Path: s.cfg.Encryption.ConfigFile, Reload: s.cfg.Encryption.Reload,
		ResourceOf: resourceOf(),
	})
	if err != nil {
		return nil, err
	}
	s.cfg.Log.Info("stored values are sealed", zap.String("config", s.cfg.Encryption.ConfigFile))
	values.OnReadable(store.Reread)
	store.Protect(values)
	s.encryption = values
	return store, nil
}

// seal keeps encryption going until ctx ends.
func (s *server) seal(ctx context.Context) error {
	if s.encryption == nil {
		return nil
	}
	return s.encryption.Run(ctx)
}

// sealing is the health of encryption's services, if it has any.
func (s *server) sealing() []health.Check {
	if s.encryption == nil || !s.encryption.Checked() {
		return nil
	}
	return []health.Check{{Name: "kms-providers", Check: func(r *http.Request) error { return s.encryption.Check(r.Context()) }}}
}

// resourceOf tells keys of etcd from one another: those of the table by their
// folder, custom resources by their group and name. The record of node ports is
// sealed as Services are, by upstream's servers, too.
func resourceOf() func(key string) schema.GroupResource {
	folders := map[string]schema.GroupResource{}
	for _, k := range kinds.Stored() {
		folders[k.Prefix] = k.GroupResource()
	}
	folders["ranges"] = kinds.For[*corev1.Service]().GroupResource()
	return func(key string) schema.GroupResource {
		first, rest, _ := strings.Cut(strings.TrimPrefix(key, etcd.Root), "/")
		if gr, ok := folders[first]; ok {
			return gr
		}
		second, _, _ := strings.Cut(rest, "/")
		if gr, ok := folders[first+"/"+second]; ok {
			return gr
		}
		return schema.GroupResource{Group: first, Resource: second}
	}
}
