package token

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/warning"

	"coracle.local/services/apiserver/internal/auth"
)

const (
	invalidSinceLabel = "kubernetes.io/legacy-token-invalid-since"
	// LastUsedLabel of a Secret is the day on which its token was last used.
	LastUsedLabel = "kubernetes.io/legacy-token-last-used"
)

var errInvalidated = errors.New("service account token has been invalidated")

// checkBound looks whether a token still holds: its time, its account, and
// the object it is bound to.
func (v *Verifier) checkBound(_ context.Context, _ string, c *Claims) (*serviceaccount.ServiceAccountInfo, error) {
	now := v.Clock.Now()
	if err := checkTime(c, now); err != nil {
		return nil, err
	}
	b := c.Kubernetes
	if b == nil {
		b = &Bound{}
	}
	// What is being deleted counts as gone, after a leeway for the clocks.
	goneBefore := now.Add(-jwt.DefaultLeeway)
	account, ok := auth.Get[*corev1.ServiceAccount](v.Reader, b.Namespace, b.ServiceAccount.Name)
	switch {
	case !ok:
		return nil, apierrors.NewNotFound(corev1.Resource("serviceaccounts"), b.ServiceAccount.Name)
	case string(account.UID) != b.ServiceAccount.UID:
		return nil, fmt.Errorf("service account UID (%s) does not match claim (%s)", account.UID, b.ServiceAccount.UID)
	case deleted(account, goneBefore):
		return nil, fmt.Errorf("service account %s/%s has been deleted", b.Namespace, b.ServiceAccount.Name)
	}
	info := &serviceaccount.ServiceAccountInfo{Namespace: b.Namespace, Name: b.ServiceAccount.Name, UID: b.ServiceAccount.UID}
	if c.ID != "" {
		info.CredentialID = "JTI=" + c.ID
	}
	if b.Secret != nil {
		secret, ok := auth.Get[*corev1.Secret](v.Reader, b.Namespace, b.Secret.Name)
		if err := checkReference("secret", b.Secret, secret, ok, goneBefore); err != nil {
			return nil, err
		}
	}
	if b.Pod != nil {
		pod, ok := auth.Get[*corev1.Pod](v.Reader, b.Namespace, b.Pod.Name)
		if err := checkReference("pod", b.Pod, pod, ok, goneBefore); err != nil {
			return nil, err
		}
		info.PodName, info.PodUID = b.Pod.Name, b.Pod.UID
	}
	if b.Node != nil {
		// The node of a pod's token is a fact about the pod, not a bond.
		if b.Pod == nil {
			node, ok := auth.Get[*corev1.Node](v.Reader, "", b.Node.Name)
			if err := checkReference("node", b.Node, node, ok, goneBefore); err != nil {
				return nil, err
			}
		}
		info.NodeName, info.NodeUID = b.Node.Name, b.Node.UID
	}
	return info, nil
}

func checkTime(c *Claims, now time.Time) error {
	switch {
	case c.NotBefore != nil && now.Add(jwt.DefaultLeeway).Before(c.NotBefore.Time()):
		return errors.New("service account token is not valid yet")
	case c.Expiry != nil && now.Add(-jwt.DefaultLeeway).After(c.Expiry.Time()):
		return errors.New("service account token has expired")
	case c.IssuedAt != nil && now.Add(jwt.DefaultLeeway).Before(c.IssuedAt.Time()):
		return errors.New("service account token is issued in the future")
	}
	return nil
}

func checkReference(kind string, r *Reference, o metav1.Object, found bool, goneBefore time.Time) error {
	switch {
	case !found:
		return errInvalidated
	case string(o.GetUID()) != r.UID:
		return fmt.Errorf("%s UID (%s) does not match service account %s ref claim (%s)", kind, o.GetUID(), kind, r.UID)
	case deleted(o, goneBefore):
		return errInvalidated
	}
	return nil
}

func deleted(o metav1.Object, before time.Time) bool {
	at := o.GetDeletionTimestamp()
	return at != nil && at.Time.Before(before)
}

// checkLegacy looks whether a token that is kept in a secret still holds.
func (v *Verifier) checkLegacy(ctx context.Context, token string, c *Claims) (*serviceaccount.ServiceAccountInfo, error) {
	if err := checkLegacyClaims(c); err != nil {
		return nil, err
	}
	secret, ok := auth.Get[*corev1.Secret](v.Reader, c.Namespace, c.SecretName)
	switch {
	case !ok || secret.DeletionTimestamp != nil:
		return nil, errors.New("Token has been invalidated")
	case subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(token)) == 0:
		return nil, errors.New("Token does not match server's copy")
	}
	account, ok := auth.Get[*corev1.ServiceAccount](v.Reader, c.Namespace, c.ServiceAccountName)
	switch {
	case !ok:
		return nil, apierrors.NewNotFound(corev1.Resource("serviceaccounts"), c.ServiceAccountName)
	case account.DeletionTimestamp != nil:
		return nil, fmt.Errorf("ServiceAccount %s/%s has been deleted", c.Namespace, c.ServiceAccountName)
	case string(account.UID) != c.ServiceAccountUID:
		return nil, fmt.Errorf("ServiceAccount UID (%s) does not match claim (%s)", account.UID, c.ServiceAccountUID)
	}
	v.trackLegacy(ctx, secret)
	if secret.Labels[invalidSinceLabel] != "" {
		return nil, fmt.Errorf("the token in secret %s/%s for service account %s/%s has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '%s' label from the secret to temporarily allow use of this token",
			c.Namespace, c.SecretName, c.Namespace, c.ServiceAccountName, invalidSinceLabel)
	}
	for _, r := range account.Secrets {
		if r.Name == secret.Name {
			warning.AddWarning(ctx, "", "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.")
			break
		}
	}
	return &serviceaccount.ServiceAccountInfo{Namespace: c.Namespace, Name: c.ServiceAccountName, UID: c.ServiceAccountUID}, nil
}

func checkLegacyClaims(c *Claims) error {
	for _, claim := range []struct{ value, name string }{
		{c.Subject, "sub"},
		{c.Namespace, "namespace"},
		{c.SecretName, "secretName"},
		{c.ServiceAccountName, "serviceAccountName"},
		{c.ServiceAccountUID, "serviceAccountUID"},
	} {
		if claim.value == "" {
			return errors.New(claim.name + " claim is missing")
		}
	}
	namespace, name, err := serviceaccount.SplitUsername(c.Subject)
	if err != nil || namespace != c.Namespace || name != c.ServiceAccountName {
		return errors.New("sub claim is invalid")
	}
	return nil
}

// trackLegacy tells of the first use of a day. A label of tomorrow counts as
// today's: the servers of a cluster may stand on both sides of midnight.
func (v *Verifier) trackLegacy(ctx context.Context, secret *corev1.Secret) {
	if v.LegacyUsed == nil {
		return
	}
	now := v.Clock.Now().UTC()
	switch secret.Labels[LastUsedLabel] {
	case now.Format(time.DateOnly), now.AddDate(0, 0, 1).Format(time.DateOnly):
		return
	}
	v.LegacyUsed(ctx, secret.Namespace, secret.Name)
}
