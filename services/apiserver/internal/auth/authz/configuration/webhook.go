package configuration

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	webhookmetrics "k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"

	"coracle.local/services/apiserver/internal/auth/authn/tokenwebhook"
	"coracle.local/services/apiserver/internal/auth/authz"
)

// Webhook is a remote service that decides, as the flags tell of one.
type Webhook struct {
	// Path is a kubeconfig of the service; empty for none.
	Path string
	// Version of SubjectAccessReview to send, v1 or v1beta1.
	Version string
	// AuthorizedTTL and UnauthorizedTTL are how long an answer is believed;
	// zero is for the one request.
	AuthorizedTTL, UnauthorizedTTL time.Duration
}

// timeout is how long a service named by flags may take.
const timeout = 30 * time.Second

// configuration is the webhook of the flags as a file would have it.
func (w *Webhook) configuration() *apiserver.WebhookConfiguration {
	return &apiserver.WebhookConfiguration{
		AuthorizedTTL: metav1.Duration{Duration: w.AuthorizedTTL}, CacheAuthorizedRequests: w.AuthorizedTTL != 0,
		UnauthorizedTTL: metav1.Duration{Duration: w.UnauthorizedTTL}, CacheUnauthorizedRequests: w.UnauthorizedTTL != 0,
		Timeout: metav1.Duration{Duration: timeout}, FailurePolicy: apiserver.FailurePolicyNoOpinion,
		SubjectAccessReviewVersion: w.Version,
		ConnectionInfo: apiserver.WebhookConnectionInfo{
			Type: apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: &w.Path,
		},
	}
}

// remote makes the mode that asks a service.
func remote(name string, c *apiserver.WebhookConfiguration, compiler authorizationcel.Compiler) (authz.Mode, error) {
	if c.ConnectionInfo.KubeConfigFile == nil {
		return nil, fmt.Errorf("authorizer %s: connection type %s is not supported here", name, c.ConnectionInfo.Type)
	}
	service, err := webhookutil.LoadKubeconfig(*c.ConnectionInfo.KubeConfigFile, nil)
	if err != nil {
		return nil, fmt.Errorf("authorizer %s: %w", name, err)
	}
	if c.Timeout.Duration != 0 {
		service.Timeout = c.Timeout.Duration
	}
	onError := authorizer.DecisionNoOpinion
	if c.FailurePolicy == apiserver.FailurePolicyDeny {
		onError = authorizer.DecisionDeny
	}
	ttl := func(on bool, d metav1.Duration) time.Duration {
		if !on {
			return 0
		}
		return d.Duration
	}
	m, err := webhook.New(service, c.SubjectAccessReviewVersion,
		ttl(c.CacheAuthorizedRequests, c.AuthorizedTTL), ttl(c.CacheUnauthorizedRequests, c.UnauthorizedTTL),
		tokenwebhook.Backoff(), onError, c.MatchConditions, name, webhookmetrics.NoopAuthorizerMetrics{}, compiler)
	if err != nil {
		return nil, fmt.Errorf("authorizer %s: %w", name, err)
	}
	return m, nil
}
