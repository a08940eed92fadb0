package encryption

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	kmsservice "k8s.io/kms/pkg/service"
)

// How often a key management service is asked how it is, how long its answer
// counts for others who ask, and how long what it gave can be written with once
// it is ill. All as upstream, so that both agree on when a key has changed.
const (
	askWell  = time.Minute
	askIll   = 10 * time.Second
	keepWell = 20 * time.Second
	keepIll  = 3 * time.Second
	coast    = 3 * time.Minute
)

const (
	kmsV1Refused = "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature."
	kmsPrefix    = "k8s:enc:kms:v2:"
	seed         = kmstypes.EncryptedDEKSourceType_HKDF_SHA256_XNONCE_AES_GCM_SEED
)

// errNoSeed says that the service has not answered well yet.
var errNoSeed = errors.New("got unexpected nil transformer")

// service is a key management service. A seed that it has encrypted is what
// values are sealed with, so that it is not asked for each of them.
type service struct {
	name  string
	log   *zap.Logger
	calls kmsservice.Service
	state atomic.Pointer[kmsv2.State]

	mu      sync.Mutex
	last    error
	until   time.Time // to when last counts
	version string
}

func newService(ctx context.Context, c *apiserverv1.KMSConfiguration, log *zap.Logger) (*service, value.PrefixTransformer, error) {
	var none value.PrefixTransformer
	if c.APIVersion == "v1" {
		return nil, none, errors.New(kmsV1Refused)
	}
	calls, err := kmsv2.NewGRPCService(ctx, c.Endpoint, c.Name, c.Timeout.Duration)
	if err != nil {
		return nil, none, fmt.Errorf("could not configure KMSv2-Plugin's probe %q, error: %w", c.Name, err)
	}
	s := &service{name: c.Name, log: log.With(zap.String("kms", c.Name)), calls: calls}
	s.state.Store(&kmsv2.State{KMSProviderName: c.Name})
	if err := s.check(ctx); err != nil {
		s.log.Warn("key management service does not answer well", zap.Error(err))
	}
	return s, value.PrefixTransformer{
		Prefix:      []byte(kmsPrefix + c.Name + ":"),
		Transformer: kmsv2.NewEnvelopeTransformer(calls, c.Name, s.usable, ""),
	}, nil
}

// keep asks the service again and again, so that a change of its key is seen
// and the seed does not expire.
func (s *service) keep(ctx context.Context, readable func()) {
	wait := askWell
	if s.check(ctx) != nil {
		wait = askIll
	}
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if err := s.check(ctx); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("key management service does not answer well", zap.Error(err))
			}
			wait = askIll
			continue
		}
		wait = askWell
		readable()
	}
}

// check asks the service how it is, unless that was asked just now.
func (s *service) check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.until) {
		return s.last
	}
	if s.last = s.ask(ctx); s.last != nil {
		s.until = time.Now().Add(keepIll)
		return s.last
	}
	s.until = time.Now().Add(keepWell)
	return nil
}

func (s *service) ask(ctx context.Context) error {
	answer, err := s.calls.Status(ctx)
	if err != nil {
		return fmt.Errorf("failed to perform status section of the healthz check for KMS Provider %s, error: %w", s.name, err)
	}
	var errs []error
	if answer.Healthz != "ok" {
		errs = append(errs, fmt.Errorf("got unexpected healthz status: %s", answer.Healthz))
	}
	switch {
	case answer.Version != kmsv2.KMSAPIVersionv2 && answer.Version != kmsv2.KMSAPIVersionv2beta1:
		errs = append(errs, fmt.Errorf("expected KMSv2 API version %s, got %s", kmsv2.KMSAPIVersionv2, answer.Version))
	case s.version != "" && s.version != answer.Version:
		errs = append(errs, fmt.Errorf("KMSv2 API version should not change after the initial status response version %s, got %s", s.version, answer.Version))
	default:
		s.version = answer.Version
	}
	if _, err := kmsv2.ValidateKeyID(answer.KeyID); err != nil {
		errs = append(errs, fmt.Errorf("got invalid KMSv2 KeyID hash %q: %w", kmsv2.GetHashIfNotEmpty(answer.KeyID), err))
	} else {
		errs = append(errs, s.follow(ctx, answer.KeyID))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kmsv2 Provider %s is not healthy, error: %w", s.name, err)
	}
	return nil
}

// follow makes a new seed if the service has another key than that of the
// present one, which otherwise may be used for longer.
func (s *service) follow(ctx context.Context, key string) error {
	have, broken := s.usable()
	until := time.Now().Add(coast)
	if broken == nil && have.EncryptedObjectKeyID == key && have.EncryptedObjectEncryptedDEKSourceType == seed {
		have.ExpirationTimestamp = until
		s.state.Store(&have)
		return nil
	}
	uid := uuid.NewString()
	t, encrypted, cacheKey, err := kmsv2.GenerateTransformer(ctx, uid, s.calls, true)
	if err != nil {
		return fmt.Errorf("make a seed: %w", err)
	}
	if encrypted.KeyID != key {
		return fmt.Errorf("make a seed: the key's hash is %q by status and %q by encryption",
			kmsv2.GetHashIfNotEmpty(key), kmsv2.GetHashIfNotEmpty(encrypted.KeyID))
	}
	s.state.Store(&kmsv2.State{
		Transformer: t, UID: uid, ExpirationTimestamp: until, CacheKey: cacheKey, KMSProviderName: s.name,
		EncryptedObjectKeyID: encrypted.KeyID, EncryptedObjectEncryptedDEKSource: encrypted.EncryptedDEKSource,
		EncryptedObjectAnnotations: encrypted.Annotations, EncryptedObjectEncryptedDEKSourceType: encrypted.EncryptedDEKSourceType,
	})
	_, err = s.usable()
	return err
}

// usable is the present seed, if there is any. It opens for ever; whether it
// may still seal is told by its time.
func (s *service) usable() (kmsv2.State, error) {
	have := *s.state.Load()
	if have.Transformer == nil {
		return kmsv2.State{}, errNoSeed
	}
	err := kmsv2.ValidateEncryptedObject(&kmstypes.EncryptedObject{
		KeyID: have.EncryptedObjectKeyID, EncryptedDEKSource: have.EncryptedObjectEncryptedDEKSource,
		Annotations: have.EncryptedObjectAnnotations, EncryptedDEKSourceType: have.EncryptedObjectEncryptedDEKSourceType,
		EncryptedData: []byte{0}, // there is none, and the rules want some
	})
	if err != nil {
		return kmsv2.State{}, fmt.Errorf("got invalid EncryptedObject: %w", err)
	}
	return have, nil
}
