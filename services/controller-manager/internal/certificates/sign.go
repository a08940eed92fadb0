package certificates

import (
	"context"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

// Signing is certificatesigningrequest-signing-controller: one loop for each
// signer that has an authority. longest is --cluster-signing-duration.
func Signing(d loop.Deps, authorities map[string]Authority, longest time.Duration) []loop.Loop {
	var out []loop.Loop
	for _, name := range Signers() {
		authority, ok := authorities[name]
		if !ok {
			continue
		}
		out = append(out, requests(d, "certificatesigningrequest-signing-controller", name, func(r *certificatesv1.CertificateSigningRequest, now time.Time) plan.Plan {
			return sign(r, name, authority, longest, now)
		}))
	}
	return out
}

// Signers is the names of the signers there are rules for, sorted.
func Signers() []string {
	var out []string
	for name := range rules {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func sign(r *certificatesv1.CertificateSigningRequest, signer string, a Authority, longest time.Duration, now time.Time) plan.Plan {
	if r.Spec.SignerName != signer || !has(r, certificatesv1.CertificateApproved) || has(r, certificatesv1.CertificateDenied) || failed(r) {
		return plan.Plan{}
	}
	x, err := parse(r.Spec.Request)
	if err != nil {
		return plan.Plan{Err: fmt.Errorf("unable to parse csr %q: %w", r.Name, err)}
	}
	if err := rules[signer](x, r.Spec.Usages); err != nil {
		r = r.DeepCopy()
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure",
			Message: err.Error(), LastUpdateTime: metav1.NewTime(now),
		})
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(r)}}
	}
	return plan.Plan{Do: []plan.Action{issue{r, a, lifetime(r.Spec.ExpirationSeconds, longest), now}}}
}

func failed(r *certificatesv1.CertificateSigningRequest) bool {
	return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == certificatesv1.CertificateFailed && (c.Status == "" || c.Status == corev1.ConditionTrue)
	})
}

// shortest is the shortest life a certificate gets, whatever is asked for.
const shortest = 10 * time.Minute

func lifetime(seconds *int32, longest time.Duration) time.Duration {
	if seconds == nil {
		return longest
	}
	return min(max(time.Duration(*seconds)*time.Second, shortest), longest)
}

// issue signs a request and writes the certificate. It is an action of its own
// because it reads the key and takes chance.
type issue struct {
	request   *certificatesv1.CertificateSigningRequest
	authority Authority
	lifetime  time.Duration
	now       time.Time
}

// Run implements plan.Action.
func (i issue) Run(ctx context.Context, env *plan.Env) plan.Result {
	der, err := i.authority.sign(i.request, i.lifetime, i.now)
	if err != nil {
		return plan.Result{Err: fmt.Errorf("error auto signing csr: %w", err)}
	}
	r := i.request.DeepCopy()
	r.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return plan.UpdateStatus(r).Run(ctx, env)
}

func (i issue) String() string { return "sign CertificateSigningRequest " + i.request.Name }
