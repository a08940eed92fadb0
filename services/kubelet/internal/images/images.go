// Package images has a container's image on the node before the container is
// made: pull policy, credentials, and a back-off for pulls that fail.
package images

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/events"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// Why a container's image is not there: the reasons of its waiting state.
const (
	ErrImagePull     = "ErrImagePull"
	ImagePullBackOff = "ImagePullBackOff"
	ErrNeverPull     = "ErrImageNeverPull"
	InvalidImageName = "InvalidImageName"
	InspectError     = "ImageInspectError"
)

// Failure is why an image is not there, and when to try again.
type Failure struct {
	Reason, Message string
	Until           time.Time
}

func (f *Failure) Error() string { return f.Reason + ": " + f.Message }

// Engine is what is needed of a container engine.
type Engine interface {
	Image(ctx context.Context, ref string) (engine.Image, bool, error)
	Pull(ctx context.Context, ref string, auth *engine.Auth) (engine.Image, error)
}

// Puller pulls images. It is safe for concurrent use.
type Puller struct {
	Engine Engine
	// Secrets reads a pull secret.
	Secrets func(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Node are the node's own credentials, in the format of a Docker
	// configuration file; they may be empty.
	Node   func() []byte
	Events events.Recorder
	Clock  clock.PassiveClock
	Log    *zap.Logger
	// Observe is told of every pull; nil for nobody.
	Observe func(took time.Duration, err error)

	mu      sync.Mutex
	failing map[string]failing
}

type failing struct {
	backoff lifecycle.Backoff
	message string
}

// How long to wait before trying again.
const (
	// settle is how long the error itself is shown before the back-off is.
	settle = 2 * time.Second
	// recheck is for failures that no pull would mend.
	recheck = 10 * time.Second
)

// limits are upstream's for image pulls.
func limits() lifecycle.BackoffLimits {
	return lifecycle.BackoffLimits{Initial: 10 * time.Second, Max: 5 * time.Minute}
}

// Ensure returns the image, pulled where the policy asks for it. Its errors
// are of type *Failure, or ctx's.
func (p *Puller) Ensure(ctx context.Context, pod *corev1.Pod, container, image string, policy corev1.PullPolicy) (engine.Image, error) {
	event := func(kind, reason, format string, args ...any) {
		p.Events.Container(pod, container, "", kind, reason, format, args...)
	}
	name, err := withTag(image)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", image, err)
		event(corev1.EventTypeWarning, "InspectFailed", "%s", message)
		return engine.Image{}, p.fail(InvalidImageName, message, recheck)
	}
	if policy != corev1.PullAlways {
		found, ok, err := p.Engine.Image(ctx, name)
		switch {
		case ctx.Err() != nil:
			return engine.Image{}, ctx.Err()
		case err != nil:
			message := fmt.Sprintf("Failed to inspect image %q: %v", image, err)
			event(corev1.EventTypeWarning, "InspectFailed", "%s", message)
			return engine.Image{}, p.fail(InspectError, message, recheck)
		case ok:
			event(corev1.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", image)
			return found, nil
		case policy == corev1.PullNever:
			message := fmt.Sprintf("Container image %q is not present with pull policy of Never", image)
			event(corev1.EventTypeWarning, ErrNeverPull, "%s", message)
			return engine.Image{}, p.fail(ErrNeverPull, message, recheck)
		}
	}
	return p.pull(ctx, pod, image, name, event)
}

func (p *Puller) fail(reason, message string, again time.Duration) *Failure {
	return &Failure{Reason: reason, Message: message, Until: p.Clock.Now().Add(again)}
}

func (p *Puller) pull(ctx context.Context, pod *corev1.Pod, image, name string, event func(kind, reason, format string, args ...any)) (engine.Image, error) {
	key := string(pod.UID) + "_" + image
	if f, until, ok := p.backingOff(key); ok {
		message := fmt.Sprintf("Back-off pulling image %q", image)
		event(corev1.EventTypeNormal, "BackOff", "%s", message)
		return engine.Image{}, &Failure{Reason: ImagePullBackOff, Message: message + ": " + f.message, Until: until}
	}
	event(corev1.EventTypeNormal, "Pulling", "Pulling image %q", image)
	start := p.Clock.Now()
	pulled, missing, err := p.try(ctx, pod, name)
	took := p.Clock.Since(start).Truncate(time.Millisecond)
	if ctx.Err() != nil {
		return engine.Image{}, ctx.Err()
	}
	if p.Observe != nil {
		p.Observe(took, err)
	}
	if err != nil {
		event(corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", image, err)
		if len(missing) > 0 {
			p.Events.Pod(pod, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", "))
		}
		return engine.Image{}, p.failed(key, image, err)
	}
	p.succeeded(key)
	event(corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.", image, took, took, pulled.Size)
	return pulled, nil
}

// try pulls with each of the credentials that fit until one does.
func (p *Puller) try(ctx context.Context, pod *corev1.Pod, name string) (engine.Image, []string, error) {
	var configs [][]byte
	var missing []string
	for _, ref := range pod.Spec.ImagePullSecrets {
		if ref.Name == "" {
			continue
		}
		secret, err := p.Secrets(ctx, pod.Namespace, ref.Name)
		if err != nil {
			p.Log.Info("pull secret is not to be had", zap.String("pod", lifecycle.Format(pod)), zap.String("secret", ref.Name), zap.Error(err))
			missing = append(missing, ref.Name)
			continue
		}
		configs = append(configs, secret.Data[corev1.DockerConfigJsonKey], secret.Data[corev1.DockerConfigKey])
	}
	if p.Node != nil {
		configs = append(configs, p.Node())
	}
	var err error
	for _, auth := range credentials(configs, name) {
		var image engine.Image
		if image, err = p.Engine.Pull(ctx, name, auth); err == nil {
			return image, missing, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return engine.Image{}, missing, err
}

func (p *Puller) backingOff(key string) (failing, time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.failing[key]
	until := f.backoff.Updated.Add(f.backoff.Delay)
	return f, until, ok && until.After(p.Clock.Now())
}

func (p *Puller) failed(key, image string, err error) *Failure {
	reason, message := ErrImagePull, err.Error()
	if errors.Is(err, engine.ErrRegistryUnavailable) {
		reason = engine.ErrRegistryUnavailable.Error()
		message = fmt.Sprintf("image pull failed for %s because the registry is unavailable: %v", image, err)
	}
	if errors.Is(err, engine.ErrInvalidImageName) {
		reason = InvalidImageName
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Clock.Now()
	if p.failing == nil {
		p.failing = map[string]failing{}
	}
	b := p.failing[key].backoff.Next(now, now, limits())
	p.failing[key] = failing{backoff: b, message: reason + ": " + message}
	return &Failure{Reason: reason, Message: message, Until: now.Add(min(settle, b.Delay))}
}

func (p *Puller) succeeded(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failing, key)
}

// Forget drops what is remembered about a pod.
func (p *Puller) Forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.failing {
		if strings.HasPrefix(key, string(uid)+"_") {
			delete(p.failing, key)
		}
	}
}

// withTag adds :latest to a name without tag and digest.
func withTag(image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("couldn't parse image name %q: %w", image, err)
	}
	if reference.IsNameOnly(named) {
		return image + ":latest", nil
	}
	return image, nil
}
