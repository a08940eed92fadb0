package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/audit"
)

const (
	defaultValidity = time.Hour
	minValidity     = 10 * time.Minute
	maxSeconds      = 1 << 32
	// ProjectedSeconds is the validity of the tokens that admission mounts
	// into pods. It is odd on purpose: by it such a token is known, and given
	// ExtendedValidity, so that a program which reads its token once still
	// works, while one that renews in time renews within the hour.
	ProjectedSeconds = 60*60 + 7
	extendedValidity = 365 * 24 * time.Hour
)

var requestKind = schema.GroupVersionKind{Group: authenticationv1.GroupName, Version: "v1", Kind: "TokenRequest"}

// Requests answers the token subresource of service accounts.
type Requests struct {
	Issuer    *Issuer
	Audiences []string // of this server; the default of a request
	// Get reads an object as it is now. It fails with NotFound.
	Get func(ctx context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error)
	// MaxValidity shortens longer requests; zero is no limit.
	MaxValidity time.Duration
	// Extend gives the tokens of pods a year, as described at
	// ProjectedSeconds.
	Extend bool
	Clock  clock.PassiveClock // optional
}

// Create answers a request for a token of a service account. Admit is
// admission, run on the valid request, and may be nil; it sees the audiences
// as they were asked for, since a kubelet's must be those of the pod's volumes,
// where none stands for this server's. The request is not modified.
func (r *Requests) Create(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest, admit func(context.Context, *authenticationv1.TokenRequest) error) (*authenticationv1.TokenRequest, error) {
	out := request.DeepCopy()
	if err := checkMeta(out, namespace, name); err != nil {
		return nil, err
	}
	object, err := r.Get(ctx, kinds.For[*corev1.ServiceAccount](), namespace, name)
	if err != nil {
		return nil, err
	}
	if out.UID != "" && out.UID != object.GetUID() {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: requestKind.Group, Resource: requestKind.Kind}, name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", out.UID, object.GetUID()))
	}
	now := r.now()
	out.Name, out.Namespace, out.UID = name, namespace, object.GetUID()
	out.CreationTimestamp = metav1.NewTime(now)
	out.Status = authenticationv1.TokenRequestStatus{}
	if len(out.Spec.Audiences) == 0 {
		out.Spec.Audiences = r.Audiences
	}
	if out.Spec.ExpirationSeconds == nil {
		seconds := int64(defaultValidity / time.Second)
		out.Spec.ExpirationSeconds = &seconds
	}
	if errs := validate(out); len(errs) > 0 {
		return nil, apierrors.NewInvalid(requestKind.GroupKind(), "", errs)
	}
	if admit != nil {
		asked := out.DeepCopy()
		asked.Spec.Audiences = request.Spec.Audiences
		if err := admit(ctx, asked); err != nil {
			return nil, err
		}
	}
	bound := Bound{Namespace: namespace, ServiceAccount: Reference{Name: name, UID: string(object.GetUID())}}
	if err := r.bind(ctx, &bound, out.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	return out, r.issue(ctx, out, bound, now)
}

func (r *Requests) now() time.Time {
	if r.Clock == nil {
		return time.Now()
	}
	return r.Clock.Now()
}

func (r *Requests) issue(ctx context.Context, out *authenticationv1.TokenRequest, bound Bound, now time.Time) error {
	validity := time.Duration(*out.Spec.ExpirationSeconds) * time.Second
	if r.MaxValidity > 0 && validity > r.MaxValidity {
		limit := int64(r.MaxValidity / time.Second)
		warning.AddWarning(ctx, "", fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", *out.Spec.ExpirationSeconds, limit))
		validity, out.Spec.ExpirationSeconds = r.MaxValidity, &limit
	}
	out.Status.ExpirationTimestamp = metav1.NewTime(now.Add(validity))
	var warnAfter time.Duration
	if r.Extend && bound.Pod != nil && *out.Spec.ExpirationSeconds == ProjectedSeconds && r.forThisServer(out.Spec.Audiences) {
		warnAfter, validity = validity, extendedValidity
	}
	id := string(uuid.NewUUID())
	token, err := r.Issuer.sign(newClaims(bound, id, out.Spec.Audiences, now, validity, warnAfter))
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	audit.Annotate(ctx, serviceaccount.IssuedCredentialIDAuditAnnotationKey, "JTI="+id)
	out.Status.Token = token
	return nil
}

func (r *Requests) forThisServer(audiences []string) bool {
	return !slices.ContainsFunc(audiences, func(a string) bool { return !slices.Contains(r.Audiences, a) })
}

func checkMeta(request *authenticationv1.TokenRequest, namespace, name string) error {
	path := field.NewPath("metadata")
	var errs field.ErrorList
	if request.Name != "" && request.Name != name {
		errs = append(errs, field.Invalid(path.Child("name"), request.Name, "must match the service account name if specified"))
	} else if request.Namespace != "" && request.Namespace != namespace {
		errs = append(errs, field.Invalid(path.Child("namespace"), request.Namespace, "must match the service account namespace if specified"))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(requestKind.GroupKind(), name, errs)
}

func validate(request *authenticationv1.TokenRequest) field.ErrorList {
	spec := field.NewPath("spec")
	var errs field.ErrorList
	switch seconds := *request.Spec.ExpirationSeconds; {
	case seconds < int64(minValidity/time.Second):
		errs = append(errs, field.Invalid(spec.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes"))
	case seconds > maxSeconds:
		errs = append(errs, field.Invalid(spec.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	attestations := request.Spec.Attestations
	bound := forWebhook(request.Spec.BoundObjectRef)
	if !bound && len(attestations) > 0 {
		return field.ErrorList{field.Invalid(spec.Child("attestations"), attestations, "attestations may only be specified with a webhook bound object reference")}
	}
	if bound && len(request.Spec.Audiences) != 1 {
		errs = append(errs, field.Invalid(spec.Child("audiences"), request.Spec.Audiences, "must be length 1 when bound to a webhook config"))
	}
	if bound && len(attestations) != 1 {
		errs = append(errs, field.Invalid(spec.Child("attestations"), attestations, "webhook bound requests require exactly one admissionReviewAPIGroups attestation"))
	}
	return errs
}

// forWebhook tells whether a token shall be bound to the configuration of an
// admission webhook, which only an alpha feature of upstream's allows.
func forWebhook(ref *authenticationv1.BoundObjectReference) bool {
	return ref != nil && ref.APIVersion == "admissionregistration.k8s.io/v1" &&
		(ref.Kind == "ValidatingWebhookConfiguration" || ref.Kind == "MutatingWebhookConfiguration")
}

// bind looks up the object that the token shall be bound to.
func (r *Requests) bind(ctx context.Context, bound *Bound, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	var uid types.UID
	var err error
	switch {
	case gvk.Group == "" && gvk.Kind == "Pod":
		uid, err = r.bindPod(ctx, bound, ref.Name)
	case gvk.Group == "" && gvk.Kind == "Node":
		bound.Node, uid, err = r.reference(ctx, kinds.For[*corev1.Node](), "", ref.Name)
	case gvk.Group == "" && gvk.Kind == "Secret":
		bound.Secret, uid, err = r.reference(ctx, kinds.For[*corev1.Secret](), bound.Namespace, ref.Name)
	case forWebhook(ref):
		err = apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s (feature gate APIServerWebhookAuthenticationToken is disabled)", gvk.String()))
	default:
		err = apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if err != nil {
		return err
	}
	if ref.UID != "" && ref.UID != uid {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}

func (r *Requests) reference(ctx context.Context, k *kinds.Kind, namespace, name string) (*Reference, types.UID, error) {
	object, err := r.Get(ctx, k, namespace, name)
	if err != nil {
		return nil, "", err
	}
	return &Reference{Name: name, UID: string(object.GetUID())}, object.GetUID(), nil
}

func (r *Requests) bindPod(ctx context.Context, bound *Bound, name string) (types.UID, error) {
	object, err := r.Get(ctx, kinds.For[*corev1.Pod](), bound.Namespace, name)
	if err != nil {
		return "", err
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return "", apierrors.NewInternalError(errors.New("a pod of another type"))
	}
	if account := bound.ServiceAccount.Name; account != pod.Spec.ServiceAccountName {
		return "", apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account))
	}
	bound.Pod = &Reference{Name: name, UID: string(pod.UID)}
	if node := pod.Spec.NodeName; node != "" {
		bound.Node, _, err = r.reference(ctx, kinds.For[*corev1.Node](), "", node)
		switch {
		case apierrors.IsNotFound(err):
			// The name alone still tells where the pod is to run.
			bound.Node = &Reference{Name: node}
		case err != nil:
			return "", apierrors.NewInternalError(err)
		}
	}
	return pod.UID, nil
}
