package admission

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/auth/references"
	"coracle.local/services/apiserver/internal/auth/token"
)

const (
	defaultAccount   = "default"
	tokenVolume      = "kube-api-access-"
	tokenMountPath   = "/var/run/secrets/kubernetes.io/serviceaccount"
	enforceMountable = "kubernetes.io/enforce-mountable-secrets"

	// The default account is made by a controller when it sees the namespace,
	// so a pod that comes right behind its namespace waits a little.
	defaultAccountTries = 10
	defaultAccountPause = 100 * time.Millisecond
)

// serviceAccount gives a pod its account, the account's token and its pull
// secrets.
type serviceAccount struct {
	lookup lookup
	clock  clock.Clock
	// suffix makes the end of a volume's name.
	suffix func() string
}

func newServiceAccount(c Config) *serviceAccount {
	return &serviceAccount{c.lookup(), c.Clock, func() string { return rand.String(5) }}
}

func (p *serviceAccount) Admit(ctx context.Context, a *Attributes) error {
	pod := accountPod(a)
	if pod == nil || a.Operation != Create {
		return nil
	}
	if mirror(pod) {
		// A mirror pod is as the kubelet has it, and gets nothing.
		return p.Validate(ctx, a)
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
		pod.Spec.DeprecatedServiceAccount = defaultAccount
	}
	account, err := p.account(ctx, a, pod)
	if err != nil {
		return err
	}
	if automount(account, pod) {
		p.mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, account.ImagePullSecrets...)
	}
	return p.check(a, account, pod)
}

func (p *serviceAccount) Validate(ctx context.Context, a *Attributes) error {
	pod := accountPod(a)
	switch {
	case pod == nil:
		return nil
	case a.Operation == Create && mirror(pod):
		return checkMirror(a, pod)
	case a.Operation != Create && a.Subresource != "ephemeralcontainers":
		return nil
	case pod.Spec.ServiceAccountName == "":
		return forbidden(a, fmt.Errorf("no service account specified for pod %s/%s", a.Namespace, pod.Name))
	}
	account, err := p.account(ctx, a, pod)
	if err != nil {
		return err
	}
	return p.check(a, account, pod)
}

func accountPod(a *Attributes) *corev1.Pod {
	if !a.on("", "pods") || (a.Subresource != "" && a.Subresource != "ephemeralcontainers") || (a.Operation != Create && a.Operation != Update) {
		return nil
	}
	pod, _ := a.Object.(*corev1.Pod)
	return pod
}

func mirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

func checkMirror(a *Attributes, pod *corev1.Pod) error {
	switch {
	case pod.Spec.ServiceAccountName != "":
		return forbidden(a, errors.New("a mirror pod may not reference service accounts"))
	case references.Any(references.Secrets(pod)):
		return forbidden(a, errors.New("a mirror pod may not reference secrets"))
	}
	for i := range pod.Spec.Volumes {
		projected := pod.Spec.Volumes[i].Projected
		if projected == nil {
			continue
		}
		for j := range projected.Sources {
			if projected.Sources[j].ServiceAccountToken != nil {
				return forbidden(a, errors.New("a mirror pod may not use ServiceAccountToken volume projections"))
			}
		}
	}
	return nil
}

// account returns the pod's account.
func (p *serviceAccount) account(ctx context.Context, a *Attributes, pod *corev1.Pod) (*corev1.ServiceAccount, error) {
	name := pod.Spec.ServiceAccountName
	account, err := find[*corev1.ServiceAccount](ctx, p.lookup, a.Namespace, name)
	for i := 1; name == defaultAccount && apierrors.IsNotFound(err) && i < defaultAccountTries; i++ {
		if wait(ctx, p.clock, defaultAccountPause) != nil {
			break
		}
		account, err = find[*corev1.ServiceAccount](ctx, p.lookup, a.Namespace, name)
	}
	if apierrors.IsNotFound(err) {
		err = apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
	}
	if err != nil {
		return nil, forbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.Namespace, name, err))
	}
	return account, nil
}

func automount(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	switch {
	case pod.Spec.AutomountServiceAccountToken != nil:
		return *pod.Spec.AutomountServiceAccountToken
	case account.AutomountServiceAccountToken != nil:
		return *account.AutomountServiceAccountToken
	}
	return true
}

// mountToken gives every container the account's token, the cluster's
// authority and the namespace, where none has mounted something there itself.
func (p *serviceAccount) mountToken(pod *corev1.Pod) {
	name, exists := "", false
	for i := range pod.Spec.Volumes {
		if strings.HasPrefix(pod.Spec.Volumes[i].Name, tokenVolume) {
			name, exists = pod.Spec.Volumes[i].Name, true
			break
		}
	}
	if name == "" {
		name = tokenVolume + p.suffix()
	}
	needed := false
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if !mountsAt(&containers[i], tokenMountPath) {
				containers[i].VolumeMounts = append(containers[i].VolumeMounts, corev1.VolumeMount{
					Name: name, ReadOnly: true, MountPath: tokenMountPath,
				})
				needed = true
			}
		}
	}
	if needed && !exists {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
			Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenSource()},
		})
	}
}

func mountsAt(c *corev1.Container, path string) bool {
	for i := range c.VolumeMounts {
		if c.VolumeMounts[i].MountPath == path {
			return true
		}
	}
	return false
}

func tokenSource() *corev1.ProjectedVolumeSource {
	return &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To(corev1.ProjectedVolumeSourceDefaultMode),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Path: "token", ExpirationSeconds: ptr.To[int64](token.ProjectedSeconds),
			}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}
}

// check refuses secrets that the account does not list, if the account says
// that it must.
func (p *serviceAccount) check(a *Attributes, account *corev1.ServiceAccount, pod *corev1.Pod) error {
	if enforce, _ := strconv.ParseBool(account.Annotations[enforceMountable]); !enforce {
		return nil
	}
	mountable := map[string]bool{}
	for _, r := range account.Secrets {
		mountable[r.Name] = true
	}
	check := secretCheck{account.Name, mountable}
	if a.Operation == Update {
		for i := range pod.Spec.EphemeralContainers {
			c := (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			if err := check.container("ephemeral container", c); err != nil {
				return forbidden(a, err)
			}
		}
		return nil
	}
	if err := check.pod(account, pod); err != nil {
		return forbidden(a, err)
	}
	return nil
}

type secretCheck struct {
	account   string
	mountable map[string]bool
}

func (s secretCheck) pod(account *corev1.ServiceAccount, pod *corev1.Pod) error {
	for i := range pod.Spec.Volumes {
		if v := pod.Spec.Volumes[i].Secret; v != nil && !s.mountable[v.SecretName] {
			return fmt.Errorf("volume with secret.secretName=\"%s\" is not allowed because service account %s does not reference that secret", v.SecretName, s.account)
		}
	}
	for i := range pod.Spec.InitContainers {
		if err := s.container("init container", &pod.Spec.InitContainers[i]); err != nil {
			return err
		}
	}
	for i := range pod.Spec.Containers {
		if err := s.container("container", &pod.Spec.Containers[i]); err != nil {
			return err
		}
	}
	pullable := map[string]bool{}
	for _, r := range account.ImagePullSecrets {
		pullable[r.Name] = true
	}
	for i, r := range pod.Spec.ImagePullSecrets {
		if !pullable[r.Name] {
			return fmt.Errorf(`imagePullSecrets[%d].name="%s" is not allowed because service account %s does not reference that imagePullSecret`, i, r.Name, s.account)
		}
	}
	return nil
}

func (s secretCheck) container(what string, c *corev1.Container) error {
	for _, env := range c.Env {
		if from := env.ValueFrom; from != nil && from.SecretKeyRef != nil && !s.mountable[from.SecretKeyRef.Name] {
			return fmt.Errorf("%s %s with envVar %s referencing secret.secretName=\"%s\" is not allowed because service account %s does not reference that secret",
				what, c.Name, env.Name, from.SecretKeyRef.Name, s.account)
		}
	}
	for _, from := range c.EnvFrom {
		if from.SecretRef != nil && !s.mountable[from.SecretRef.Name] {
			return fmt.Errorf("%s %s with envFrom referencing secret.secretName=\"%s\" is not allowed because service account %s does not reference that secret",
				what, c.Name, from.SecretRef.Name, s.account)
		}
	}
	return nil
}
