package app

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/token"
	"coracle.local/services/apiserver/internal/registry"
)

// legacyUsed writes into a Secret when its token was used, so that the cleaner
// of such tokens knows those that nobody needs. A request does not fail for it.
func (s *server) legacyUsed(ctx context.Context, namespace, secret string) {
	ctx = auth.WithUser(ctx, &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}})
	today := time.Now().UTC().Format(time.DateOnly)
	_, _, err := s.registry.Update(ctx, kinds.For[*corev1.Secret](), namespace, secret, "", func(o kinds.Object) (kinds.Object, error) {
		labels := o.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[token.LastUsedLabel] = today
		o.SetLabels(labels)
		return o, nil
	}, registry.UpdateOptions{Unconditional: true})
	if err != nil {
		s.cfg.Log.Warn("use of a token is not recorded", zap.String("secret", namespace+"/"+secret), zap.Error(err))
	}
}
