package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

const enforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// ServiceAccount is the behaviour of core/v1 ServiceAccount.
func ServiceAccount() strategy.Kind[*corev1.ServiceAccount] {
	return strategy.Kind[*corev1.ServiceAccount]{
		PrepareCreate: namesOnly,
		PrepareUpdate: func(a, _ *corev1.ServiceAccount) { namesOnly(a) },
		NameRule:      apivalidation.ValidateServiceAccountName,
		Warnings: func(a, old *corev1.ServiceAccount) []string {
			if old != nil {
				if _, was := old.Annotations[enforceMountableSecrets]; was {
					return nil
				}
			}
			if _, is := a.Annotations[enforceMountableSecrets]; is {
				return []string{"metadata.annotations[" + enforceMountableSecrets + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
			}
			return nil
		},
		AllowUnconditionalUpdate: true,
		Columns:                  cells.Columns(cells.Name(), cells.Age()),
		Cells:                    func(a *corev1.ServiceAccount) []any { return []any{a.Name, cells.AgeOf(a)} },
	}
}

// namesOnly strips references to secrets, which lie in the same namespace, of
// all but their names.
func namesOnly(a *corev1.ServiceAccount) {
	for i, secret := range a.Secrets {
		a.Secrets[i] = corev1.ObjectReference{Name: secret.Name}
	}
}
