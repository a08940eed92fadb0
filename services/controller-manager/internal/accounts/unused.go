package accounts

import (
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

const (
	invalidSinceLabel = "kubernetes.io/legacy-token-invalid-since"
	lastUsedLabel     = "kubernetes.io/legacy-token-last-used"
	// tracking is the ConfigMap that says since when the API server notes uses.
	trackingName = "kube-apiserver-legacy-service-account-token-tracking"
	trackingKey  = "since"
	// sweep is how often the Secrets are gone through.
	sweep = 24 * time.Hour
)

// usage is all that decides which tokens nobody uses.
type usage struct {
	// Since is what the API server says of when it began to note uses.
	Since    string
	Secrets  []*corev1.Secret
	Accounts map[loop.Key]*corev1.ServiceAccount
	// Mounted is the Secrets that pods name.
	Mounted map[loop.Key]bool
}

// Unused is legacy-serviceaccount-token-cleaner-controller: tokens that were
// made for an account by itself and not used for a period are marked invalid,
// and deleted after another.
func Unused(d loop.Deps, period time.Duration) loop.Loop {
	secrets, accounts := tokenSecrets(d.API), cluster.Of[*corev1.ServiceAccount](d.API)
	pods := cluster.Of[*corev1.Pod](d.API)
	tracking := d.API.Named(kinds.For[*corev1.ConfigMap](), trackingName)
	all := loop.Key{Name: "all"}
	return loop.New(d, loop.Spec[loop.Key, usage]{
		Name: "legacy-serviceaccount-token-cleaner-controller", Workers: 1, Start: []loop.Key{all},
		Reads: []cluster.Cache{secrets, accounts, pods, tracking},
		Observe: func(loop.Key, time.Time) (usage, bool) {
			u := usage{Accounts: map[loop.Key]*corev1.ServiceAccount{}, Mounted: map[loop.Key]bool{}}
			if c, ok := cluster.Get[*corev1.ConfigMap](tracking, metav1.NamespaceSystem, trackingName); ok {
				u.Since = c.Data[trackingKey]
			}
			u.Secrets = cluster.List(secrets, "", func(s *corev1.Secret) bool { return s.Type == corev1.SecretTypeServiceAccountToken })
			if len(u.Secrets) == 0 {
				return u, true
			}
			for _, a := range cluster.List[*corev1.ServiceAccount](accounts, "") {
				u.Accounts[loop.Key{Namespace: a.Namespace, Name: a.Name}] = a
			}
			for _, p := range cluster.List[*corev1.Pod](pods, "") {
				for _, name := range secretNames(p) {
					u.Mounted[loop.Key{Namespace: p.Namespace, Name: name}] = true
				}
			}
			return u, true
		},
		Compute: func(u usage, now time.Time) plan.Plan { return unused(u, now, period) },
	})
}

func unused(u usage, now time.Time, period time.Duration) plan.Plan {
	p := plan.Plan{After: sweep}
	now = now.UTC()
	since, err := time.Parse(time.DateOnly, u.Since)
	if err != nil || now.Before(since.AddDate(0, 0, 1).Add(period)) {
		return p // uses were not noted for long enough
	}
	var do plan.Parallel
	for _, s := range u.Secrets {
		if a := unusedOne(s, u, now, period); a != nil {
			do.Parts = append(do.Parts, a)
		}
	}
	if len(do.Parts) > 0 {
		p.Add(do)
	}
	return p
}

// unusedOne is what to do about one token, nil for nothing.
func unusedOne(s *corev1.Secret, u usage, now time.Time, period time.Duration) plan.Action {
	before := now.Add(-period)
	day := before.Format(time.DateOnly)
	if !s.CreationTimestamp.Time.Before(before) || s.DeletionTimestamp != nil {
		return nil
	}
	if used, ok := s.Labels[lastUsedLabel]; ok {
		if _, err := time.Parse(time.DateOnly, used); err != nil || used >= day {
			return nil
		}
	}
	account := u.Accounts[loop.Key{Namespace: s.Namespace, Name: s.Annotations[corev1.ServiceAccountNameKey]}]
	uid := types.UID(s.Annotations[corev1.ServiceAccountUIDKey])
	if account == nil || uid != "" && uid != account.UID {
		return nil
	}
	// Only tokens that were made by themselves are named by their account.
	named := slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == s.Name })
	if !named || u.Mounted[loop.Key{Namespace: s.Namespace, Name: s.Name}] {
		return nil
	}
	invalid := s.Labels[invalidSinceLabel]
	if _, err := time.Parse(time.DateOnly, invalid); err != nil {
		data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": s.UID, "labels": map[string]string{invalidSinceLabel: now.Format(time.DateOnly)}}})
		if err != nil {
			panic(err) // strings always marshal
		}
		return plan.Patch{Kind: kinds.ForObject(s), Namespace: s.Namespace, Name: s.Name, Type: types.MergePatchType, Data: data, MayMiss: true}
	}
	if invalid >= day {
		return nil
	}
	d := plan.DeleteOf(s)
	d.Options.Preconditions = &metav1.Preconditions{ResourceVersion: ptr.To(s.ResourceVersion)}
	return d
}

// secretNames is every Secret that a pod names.
func secretNames(p *corev1.Pod) []string {
	var out []string
	add := func(name string) {
		if name != "" {
			out = append(out, name)
		}
	}
	local := func(r *corev1.LocalObjectReference) {
		if r != nil {
			add(r.Name)
		}
	}
	for _, r := range p.Spec.ImagePullSecrets {
		add(r.Name)
	}
	env := func(from []corev1.EnvFromSource, vars []corev1.EnvVar) {
		for _, e := range from {
			if e.SecretRef != nil {
				add(e.SecretRef.Name)
			}
		}
		for _, v := range vars {
			if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
				add(v.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	for _, c := range append(slices.Clone(p.Spec.InitContainers), p.Spec.Containers...) {
		env(c.EnvFrom, c.Env)
	}
	for _, c := range p.Spec.EphemeralContainers {
		env(c.EnvFrom, c.Env)
	}
	for _, v := range p.Spec.Volumes {
		switch {
		case v.AzureFile != nil:
			add(v.AzureFile.SecretName)
		case v.CephFS != nil:
			local(v.CephFS.SecretRef)
		case v.Cinder != nil:
			local(v.Cinder.SecretRef)
		case v.FlexVolume != nil:
			local(v.FlexVolume.SecretRef)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.Secret != nil {
					add(s.Secret.Name)
				}
			}
		case v.RBD != nil:
			local(v.RBD.SecretRef)
		case v.Secret != nil:
			add(v.Secret.SecretName)
		case v.ScaleIO != nil:
			local(v.ScaleIO.SecretRef)
		case v.ISCSI != nil:
			local(v.ISCSI.SecretRef)
		case v.StorageOS != nil:
			local(v.StorageOS.SecretRef)
		case v.CSI != nil:
			local(v.CSI.NodePublishSecretRef)
		}
	}
	return out
}
