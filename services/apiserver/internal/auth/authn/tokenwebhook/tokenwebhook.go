// Package tokenwebhook asks a remote service whose a bearer token is.
package tokenwebhook

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"

	"coracle.local/services/apiserver/internal/auth/authn"
)

// Config says whom to ask.
type Config struct {
	// Path is a kubeconfig of the service.
	Path string
	// Version of TokenReview to send, v1 or v1beta1.
	Version string
	// TTL is how long an answer is believed; zero is for the one request.
	TTL time.Duration
	// Audiences are this server's: what a token is for if the service does not
	// say.
	Audiences []string
}

// Backoff is how a request to a service that fails is made again, here and for
// authorization; upstream's figures.
func Backoff() wait.Backoff {
	return wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
}

// New reads the kubeconfig. The service is first asked when a token comes that
// nobody else knows.
func New(c Config) (authn.Token, error) {
	service, err := webhookutil.LoadKubeconfig(c.Path, nil)
	if err != nil {
		return nil, fmt.Errorf("webhook of token authentication: %w", err)
	}
	t, err := webhook.New(service, c.Version, c.Audiences, Backoff())
	if err != nil {
		return nil, fmt.Errorf("webhook of token authentication: %w", err)
	}
	return authn.Upstream{Token: cache.New(t, false, c.TTL, c.TTL)}, nil
}
