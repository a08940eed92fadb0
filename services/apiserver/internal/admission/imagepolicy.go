package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	retry "k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"coracle.local/services/apiserver/internal/auth/recent"
)

// imagePolicySettings are upstream's, whose numbers have a unit of their own:
// seconds, and milliseconds of the back-off. 0 is the default, -1 is none.
type imagePolicySettings struct {
	KubeConfigFile string `json:"kubeConfigFile"`
	AllowTTL       int64  `json:"allowTTL"`
	DenyTTL        int64  `json:"denyTTL"`
	RetryBackoff   int64  `json:"retryBackoff"`
	DefaultAllow   bool   `json:"defaultAllow"`

	allow, deny, backoff time.Duration
}

const (
	imageAnswersKept = 1024
	imageTries       = 5
	failedOpen       = "alpha.image-policy.k8s.io/failed-open"
)

func (s *settings) readImagePolicy(data []byte) error {
	if len(data) == 0 {
		return errors.New("no config specified")
	}
	var f struct {
		ImagePolicy imagePolicySettings `json:"imagePolicy"`
	}
	if err := yaml.Unmarshal(data, &f); err != nil {
		return err
	}
	p := f.ImagePolicy
	for _, d := range []struct {
		into                       *time.Duration
		value                      int64
		unit, least, most, usually time.Duration
	}{
		{&p.backoff, p.RetryBackoff, time.Millisecond, 1, 5 * time.Minute, 500 * time.Millisecond},
		{&p.allow, p.AllowTTL, time.Second, time.Second, 30 * time.Minute, 5 * time.Minute},
		{&p.deny, p.DenyTTL, time.Second, time.Second, 30 * time.Minute, 30 * time.Second},
	} {
		switch *d.into = time.Duration(d.value) * d.unit; {
		case d.value == -1:
			*d.into = 0
		case d.value == 0:
			*d.into = d.usually
		case *d.into < d.least || *d.into > d.most:
			return fmt.Errorf("valid value is between %v and %v, got %v", d.least, d.most, *d.into)
		}
	}
	if _, err := clientcmd.LoadFromFile(p.KubeConfigFile); err != nil {
		return err
	}
	s.imagePolicy = p
	return nil
}

// imagePolicy asks a webhook whether the images of a pod may be used.
type imagePolicy struct {
	settings imagePolicySettings
	clock    clock.Clock
	answers  *recent.Cache[string, imagepolicyv1alpha1.ImageReviewStatus]

	once   sync.Once // makes the client when the first pod comes
	client *http.Client
	url    string
	err    error
}

func newImagePolicy(c Config) *imagePolicy {
	return &imagePolicy{
		settings: c.settings.imagePolicy, clock: c.Clock,
		answers: recent.New[string, imagepolicyv1alpha1.ImageReviewStatus](imageAnswersKept),
	}
}

func (p *imagePolicy) Validate(ctx context.Context, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || !a.on("", "pods") || a.Operation != Create && a.Operation != Update || a.Subresource != "" && a.Subresource != "ephemeralcontainers" {
		return nil
	}
	spec := imagepolicyv1alpha1.ImageReviewSpec{Namespace: a.Namespace, Annotations: map[string]string{}}
	for key, value := range pod.Annotations {
		if strings.Contains(key, ".image-policy.k8s.io/") {
			spec.Annotations[key] = value
		}
	}
	for _, image := range images(pod, a.Subresource) {
		spec.Containers = append(spec.Containers, imagepolicyv1alpha1.ImageReviewContainerSpec{Image: image})
	}
	status, err := p.ask(ctx, spec)
	switch {
	case err != nil && p.settings.DefaultAllow:
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[failedOpen] = "true"
		return nil
	case err != nil:
		return forbidden(a, err)
	case status.Allowed:
		return nil
	case status.Reason != "":
		return forbidden(a, fmt.Errorf("image policy webhook backend denied one or more images: %s", status.Reason))
	}
	return forbidden(a, errors.New("one or more images rejected by webhook backend"))
}

func images(pod *corev1.Pod, subresource string) []string {
	var out []string
	if subresource == "" {
		for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for i := range list {
				out = append(out, list[i].Image)
			}
		}
		return out
	}
	for i := range pod.Spec.EphemeralContainers {
		out = append(out, pod.Spec.EphemeralContainers[i].Image)
	}
	return out
}

func (p *imagePolicy) ask(ctx context.Context, spec imagepolicyv1alpha1.ImageReviewSpec) (imagepolicyv1alpha1.ImageReviewStatus, error) {
	var none imagepolicyv1alpha1.ImageReviewStatus
	key, err := json.Marshal(spec)
	if err != nil {
		return none, err
	}
	if status, ok := p.answers.Get(string(key), p.clock.Now()); ok {
		return status, nil
	}
	review := imagepolicyv1alpha1.ImageReview{
		TypeMeta: metav1.TypeMeta{APIVersion: imagepolicyv1alpha1.SchemeGroupVersion.String(), Kind: "ImageReview"}, Spec: spec,
	}
	body, err := json.Marshal(review)
	if err != nil {
		return none, err
	}
	backoff := retry.Backoff{Duration: p.settings.backoff, Factor: 1.5, Jitter: 0.2, Steps: imageTries}
	for {
		status, again, err := p.post(ctx, body)
		if err == nil {
			ttl := p.settings.deny
			if status.Allowed {
				ttl = p.settings.allow
			}
			p.answers.Put(string(key), status, p.clock.Now().Add(ttl))
			return status, nil
		}
		pause := backoff.Step()
		if !again || backoff.Steps == 0 {
			return none, err
		}
		if err := wait(ctx, p.clock, pause); err != nil {
			return none, err
		}
	}
}

// post asks once; again tells that it may be worth another try.
func (p *imagePolicy) post(ctx context.Context, body []byte) (status imagepolicyv1alpha1.ImageReviewStatus, again bool, err error) {
	p.once.Do(p.connect)
	if p.err != nil {
		return status, false, p.err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return status, false, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := p.client.Do(request)
	if err != nil {
		return status, ctx.Err() == nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 3<<20))
	if err != nil {
		return status, true, err
	}
	if answer.StatusCode < http.StatusOK || answer.StatusCode >= http.StatusMultipleChoices {
		again = answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= http.StatusInternalServerError
		return status, again, fmt.Errorf("error contacting webhook: %d", answer.StatusCode)
	}
	var review imagepolicyv1alpha1.ImageReview
	if err := json.Unmarshal(data, &review); err != nil {
		return status, false, err
	}
	return review.Status, false, nil
}

func (p *imagePolicy) connect() {
	config, err := clientcmd.BuildConfigFromFlags("", p.settings.KubeConfigFile)
	if err != nil {
		p.err = err
		return
	}
	p.url = config.Host
	p.client, p.err = rest.HTTPClientFor(config)
}
