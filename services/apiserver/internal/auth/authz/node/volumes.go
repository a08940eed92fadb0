package node

import (
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/references"
)

type claimKey struct{ namespace, name string }

// volumes knows which claims the secrets of persistent volumes serve. Whether a
// claim agrees that the volume is its own does not matter: only who may write
// volumes can say so.
type volumes struct {
	mu      sync.RWMutex
	secrets map[string][]references.Secret // of each volume
	claims  map[references.Secret]map[string]claimKey
}

func newVolumes() *volumes {
	return &volumes{secrets: map[string][]references.Secret{}, claims: map[references.Secret]map[string]claimKey{}}
}

func (v *volumes) observe(c auth.Change) {
	var needed []references.Secret
	var claim claimKey
	if c.Object != nil {
		if pv, ok := c.Object().(*corev1.PersistentVolume); ok && pv.Spec.ClaimRef != nil {
			needed = references.VolumeSecrets(pv)
			claim = claimKey{pv.Spec.ClaimRef.Namespace, pv.Spec.ClaimRef.Name}
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.secrets[c.Name] {
		if delete(v.claims[s], c.Name); len(v.claims[s]) == 0 {
			delete(v.claims, s)
		}
	}
	delete(v.secrets, c.Name)
	if len(needed) == 0 {
		return
	}
	v.secrets[c.Name] = needed
	for _, s := range needed {
		if v.claims[s] == nil {
			v.claims[s] = map[string]claimKey{}
		}
		v.claims[s][c.Name] = claim
	}
}

// served returns the claims whose volumes need a secret.
func (v *volumes) served(s references.Secret) []claimKey {
	v.mu.RLock()
	defer v.mu.RUnlock()
	out := make([]claimKey, 0, len(v.claims[s]))
	for _, claim := range v.claims[s] {
		if !slices.Contains(out, claim) {
			out = append(out, claim)
		}
	}
	return out
}
