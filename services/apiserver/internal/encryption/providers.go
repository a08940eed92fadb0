package encryption

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"
)

// providers are a configuration at work.
type providers struct {
	byResource map[schema.GroupResource]value.Transformer
	services   []*service
	hash       string
	// grace is how long requests may need them after they were replaced.
	grace time.Duration
	close context.CancelFunc
}

// build makes providers of a valid configuration.
func build(ctx context.Context, c *apiserverv1.EncryptionConfiguration, log *zap.Logger) (*providers, error) {
	p := &providers{}
	chains := map[schema.GroupResource][]value.PrefixTransformer{}
	for _, rule := range c.Resources {
		var chain []value.PrefixTransformer
		for _, one := range rule.Providers {
			t, err := p.provider(ctx, one, log)
			if err != nil {
				return nil, err
			}
			chain = append(chain, t)
		}
		for _, name := range rule.Resources {
			gr := schema.ParseGroupResource(name)
			for _, wide := range []schema.GroupResource{{Group: gr.Group, Resource: "*"}, everything} {
				if _, masked := chains[wide]; masked {
					return nil, fmt.Errorf("resource %q is masked by earlier rule %q", written(gr), written(wide))
				}
			}
			chains[gr] = append(chains[gr], chain...)
		}
	}
	p.byResource = make(map[schema.GroupResource]value.Transformer, len(chains))
	for gr, chain := range chains {
		p.byResource[gr] = value.NewPrefixTransformers(errors.New("no matching prefix found"), chain...)
	}
	return p, nil
}

// written is a resource as the configuration has it.
func written(gr schema.GroupResource) string {
	if gr.Group == "" && gr.Resource == "*" {
		return "*."
	}
	return gr.String()
}

// of is what seals a resource's values: those of no rule are left as they are.
func (p *providers) of(gr schema.GroupResource) value.Transformer {
	for _, key := range []schema.GroupResource{gr, {Group: gr.Group, Resource: "*"}, everything} {
		if t := p.byResource[key]; t != nil {
			return t
		}
	}
	return identity.NewEncryptCheckTransformer()
}

// check asks every key management service how it is.
func (p *providers) check(ctx context.Context) error {
	var errs []error
	for i, s := range p.services {
		if err := s.check(ctx); err != nil {
			errs = append(errs, fmt.Errorf("kms-provider-%d: %w", i, err))
		}
	}
	return utilerrors.Reduce(utilerrors.NewAggregate(errs))
}

// keep refreshes the services' keys until ctx ends.
func (p *providers) keep(ctx context.Context, readable func()) {
	var group sync.WaitGroup
	for _, s := range p.services {
		group.Go(func() { s.keep(ctx, readable) })
	}
	group.Wait()
}

func (p *providers) provider(ctx context.Context, c apiserverv1.ProviderConfiguration, log *zap.Logger) (value.PrefixTransformer, error) {
	switch {
	case c.AESGCM != nil:
		return keyed("aesgcm", "AES", c.AESGCM.Keys, func(key []byte) (value.Transformer, error) {
			return blocks(key, aestransformer.NewGCMTransformer)
		})
	case c.AESCBC != nil:
		return keyed("aescbc", "AES", c.AESCBC.Keys, func(key []byte) (value.Transformer, error) {
			return blocks(key, func(b cipher.Block) (value.Transformer, error) { return aestransformer.NewCBCTransformer(b), nil })
		})
	case c.Secretbox != nil:
		return keyed("secretbox", "Secretbox", c.Secretbox.Keys, func(key []byte) (value.Transformer, error) {
			if len(key) != 32 {
				return nil, fmt.Errorf("expected key size 32 for secretbox provider, got %v", len(key))
			}
			return secretbox.NewSecretboxTransformer([32]byte(key)), nil
		})
	case c.KMS != nil:
		s, t, err := newService(ctx, c.KMS, log)
		if err != nil {
			return value.PrefixTransformer{}, err
		}
		p.services = append(p.services, s)
		p.grace += 2 * c.KMS.Timeout.Duration
		return t, nil
	case c.Identity != nil:
		return value.PrefixTransformer{Transformer: identity.NewEncryptCheckTransformer()}, nil
	}
	return value.PrefixTransformer{}, errors.New(noProvider)
}

func blocks(key []byte, make func(cipher.Block) (value.Transformer, error)) (value.Transformer, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return make(b)
}

// keyed makes a provider with keys of its own: the first seals, each opens
// what has its name.
func keyed(provider, shown string, keys []apiserverv1.Key, make func(key []byte) (value.Transformer, error)) (value.PrefixTransformer, error) {
	var chain []value.PrefixTransformer
	for _, k := range keys {
		raw, err := base64.StdEncoding.DecodeString(k.Secret)
		if err != nil {
			return value.PrefixTransformer{}, fmt.Errorf("could not obtain secret for named key %s: %w", k.Name, err)
		}
		t, err := make(raw)
		if err != nil {
			return value.PrefixTransformer{}, fmt.Errorf("error while creating transformer for named key %s: %w", k.Name, err)
		}
		chain = append(chain, value.PrefixTransformer{Prefix: []byte(k.Name + ":"), Transformer: t})
	}
	return value.PrefixTransformer{
		Prefix:      []byte("k8s:enc:" + provider + ":v1:"),
		Transformer: value.NewPrefixTransformers(fmt.Errorf("no matching key was found for the provided %s transformer", shown), chain...),
	}, nil
}
