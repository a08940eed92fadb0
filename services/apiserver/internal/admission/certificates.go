package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/kinds"
)

// maySigner tells whether the user has a verb on a signer, or on all signers
// of its domain.
func maySigner(ctx context.Context, z authorizer.UnconditionalAuthorizer, u user.Info, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, _ := z.Authorize(ctx, authorizer.AttributesRecord{
			User: u, Verb: verb, Name: name, APIGroup: certificatesv1.GroupName, APIVersion: "*",
			Resource: "signers", ResourceRequest: true,
		})
		if decision == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}

func signingRequest(a *Attributes, o kinds.Object) (*certificatesv1.CertificateSigningRequest, error) {
	csr, ok := o.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return nil, forbidden(a, fmt.Errorf("expected type CertificateSigningRequest, got: %T", o))
	}
	return csr, nil
}

// certificateApproval asks who approves a request for the right to approve
// for its signer.
type certificateApproval struct {
	authorizer authorizer.UnconditionalAuthorizer
}

func (p *certificateApproval) Validate(ctx context.Context, a *Attributes) error {
	if !a.on(certificatesv1.GroupName, "certificatesigningrequests") || a.Operation != Update || a.Subresource != "approval" {
		return nil
	}
	// The old object counts: the new one may name another signer.
	csr, err := signingRequest(a, a.Old)
	if err != nil {
		return err
	}
	if !maySigner(ctx, p.authorizer, a.User, "approve", csr.Spec.SignerName) {
		return forbidden(a, fmt.Errorf("user not permitted to approve requests with signerName %q", csr.Spec.SignerName))
	}
	return nil
}

// certificateSigning asks who writes a certificate for the right to sign as
// the signer.
type certificateSigning struct {
	authorizer authorizer.UnconditionalAuthorizer
}

func (p *certificateSigning) Validate(ctx context.Context, a *Attributes) error {
	if !a.on(certificatesv1.GroupName, "certificatesigningrequests") || a.Operation != Update || a.Subresource != "status" {
		return nil
	}
	old, err := signingRequest(a, a.Old)
	if err != nil {
		return err
	}
	csr, err := signingRequest(a, a.Object)
	if err != nil {
		return err
	}
	if slices.Equal(old.Status.Certificate, csr.Status.Certificate) && equality.Semantic.DeepEqual(old.Status.Conditions, csr.Status.Conditions) {
		return nil
	}
	if !maySigner(ctx, p.authorizer, a.User, "sign", old.Spec.SignerName) {
		return forbidden(a, fmt.Errorf("user not permitted to sign requests with signerName %q", old.Spec.SignerName))
	}
	return nil
}

// podCertificateSigning asks who answers a pod's request for the right to sign as
// the signer. It is no plugin of upstream's and cannot be turned off.
type podCertificateSigning struct {
	authorizer authorizer.UnconditionalAuthorizer
}

func (p *podCertificateSigning) Validate(ctx context.Context, a *Attributes) error {
	request, ok := a.Object.(*certificatesv1.PodCertificateRequest)
	old, had := a.Old.(*certificatesv1.PodCertificateRequest)
	if !ok || !had || a.Operation != Update || a.Subresource != "status" || equality.Semantic.DeepEqual(request.Status, old.Status) {
		return nil
	}
	signer := old.Spec.SignerName // the new object may name another
	if maySigner(ctx, p.authorizer, a.User, "sign", signer) {
		return nil
	}
	return apierrors.NewInvalid(a.Kind.GroupVersionKind().GroupKind(), request.Name, field.ErrorList{
		field.Forbidden(field.NewPath("spec", "signerName"), fmt.Sprintf("User %q is not permitted to \"sign\" for signer %q", a.User.GetName(), signer)),
	})
}

// subjectRestriction keeps the API server's own client signer from making
// administrators.
type subjectRestriction struct{}

func (subjectRestriction) Validate(_ context.Context, a *Attributes) error {
	if !a.on(certificatesv1.GroupName, "certificatesigningrequests") || a.Operation != Create || a.Subresource != "" {
		return nil
	}
	csr, err := signingRequest(a, a.Object)
	if err != nil {
		return err
	}
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	parsed, err := parseSigningRequest(csr.Spec.Request)
	if err != nil {
		return forbidden(a, fmt.Errorf("failed to parse CSR: %w", err))
	}
	if slices.Contains(parsed.Subject.Organization, user.SystemPrivilegedGroup) {
		return forbidden(a, fmt.Errorf("use of %s signer with system:masters group is not allowed", certificatesv1.KubeAPIServerClientSignerName))
	}
	return nil
}

// trustBundleAttest asks who publishes a signer's trust bundle for the right
// to attest for it.
type trustBundleAttest struct {
	authorizer authorizer.UnconditionalAuthorizer
}

func (p *trustBundleAttest) Validate(ctx context.Context, a *Attributes) error {
	bundle, ok := a.Object.(*certificatesv1.ClusterTrustBundle)
	if !ok || (a.Operation != Create && a.Operation != Update) || bundle.Spec.SignerName == "" {
		return nil
	}
	if old, ok := a.Old.(*certificatesv1.ClusterTrustBundle); ok && a.Operation == Update && sameButCollectorFields(bundle, old) {
		return nil
	}
	if !maySigner(ctx, p.authorizer, a.User, "attest", bundle.Spec.SignerName) {
		return forbidden(a, fmt.Errorf("user not permitted to attest for signerName %q", bundle.Spec.SignerName))
	}
	return nil
}

// sameButCollectorFields tells whether an update touches nothing but what
// garbage collection and storage migration write.
func sameButCollectorFields(bundle, old *certificatesv1.ClusterTrustBundle) bool {
	changed := bundle.DeepCopy()
	changed.OwnerReferences, changed.Finalizers, changed.ManagedFields = old.OwnerReferences, old.Finalizers, old.ManagedFields
	return equality.Semantic.DeepEqual(changed, old)
}
