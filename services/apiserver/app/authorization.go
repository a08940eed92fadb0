package app

import (
	"time"

	"coracle.local/services/apiserver/internal/auth/authz"
	"coracle.local/services/apiserver/internal/auth/authz/configuration"
)

// Authorization is how requests are decided upon beside Config's
// AuthorizationModes. The zero value adds nothing.
type Authorization struct {
	// ConfigFile is an AuthorizationConfiguration, instead of all else here and
	// of the modes; empty for none. It is followed.
	ConfigFile string
	// PolicyFile is the policies of mode ABAC.
	PolicyFile string
	// Webhook is the service of mode Webhook.
	Webhook AuthorizationWebhook
}

// AuthorizationWebhook is a remote service that decides.
type AuthorizationWebhook struct {
	File, Version                  string
	AuthorizedTTL, UnauthorizedTTL time.Duration
}

func (c *Config) authorizer(rbac, node authz.Mode) (*configuration.Authorizer, error) {
	w := c.Authorization.Webhook
	return configuration.New(configuration.Config{
		Log: c.Log.Named("authz"), Path: c.Authorization.ConfigFile, Modes: c.AuthorizationModes, PolicyFile: c.Authorization.PolicyFile,
		Webhook: configuration.Webhook{Path: w.File, Version: w.Version, AuthorizedTTL: w.AuthorizedTTL, UnauthorizedTTL: w.UnauthorizedTTL},
		RBAC:    rbac, Node: node,
	})
}
