// Package certificates approves, signs and clears away requests for
// certificates, and publishes whom the API server's is signed by.
package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// requests is a loop over the requests that have no certificate yet.
func requests(d loop.Deps, name, part string, compute func(*certificatesv1.CertificateSigningRequest, time.Time) plan.Plan) loop.Loop {
	all := cluster.Of[*certificatesv1.CertificateSigningRequest](d.API)
	return loop.New(d, loop.Spec[loop.Key, *certificatesv1.CertificateSigningRequest]{
		Name: name, Part: part, First: 200 * time.Millisecond, Longest: 1000 * time.Second,
		Sources: []loop.Source[loop.Key]{{Cache: all, Keys: owner.Self}},
		Observe: func(k loop.Key, _ time.Time) (*certificatesv1.CertificateSigningRequest, bool) {
			r, ok := cluster.Get[*certificatesv1.CertificateSigningRequest](all, "", k.Name)
			return r, ok && len(r.Status.Certificate) == 0
		},
		Compute: compute,
	})
}

// Approving is certificatesigningrequest-approving-controller: it approves the
// client certificates of kubelets for those who may have them unseen.
func Approving(d loop.Deps) loop.Loop {
	return requests(d, "certificatesigningrequest-approving-controller", "", approve)
}

// recognized is a sort of request that is approved for whoever may create the
// subresource.
type recognized struct {
	subresource, message string
	is                   func(*certificatesv1.CertificateSigningRequest, *x509.CertificateRequest) bool
}

var recognizers = []recognized{
	{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.", func(r *certificatesv1.CertificateSigningRequest, x *x509.CertificateRequest) bool {
		return r.Spec.Username == x.Subject.CommonName && nodeClient(r, x)
	}},
	{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.", nodeClient},
}

func nodeClient(r *certificatesv1.CertificateSigningRequest, x *x509.CertificateRequest) bool {
	return r.Spec.SignerName == certificatesv1.KubeAPIServerClientKubeletSignerName && kubeletClient(x, r.Spec.Usages) == nil
}

func approve(r *certificatesv1.CertificateSigningRequest, _ time.Time) plan.Plan {
	if has(r, certificatesv1.CertificateApproved) || has(r, certificatesv1.CertificateDenied) {
		return plan.Plan{}
	}
	x, err := parse(r.Spec.Request)
	if err != nil {
		return plan.Plan{Err: fmt.Errorf("unable to parse csr %q: %w", r.Name, err)}
	}
	return review(r, slices.DeleteFunc(slices.Clone(recognizers), func(s recognized) bool { return !s.is(r, x) }), nil)
}

// review asks for one sort after the other whether the requester may have it.
func review(r *certificatesv1.CertificateSigningRequest, sorts []recognized, tried []string) plan.Plan {
	if len(sorts) == 0 {
		if len(tried) == 0 {
			return plan.Plan{}
		}
		return plan.Plan{Err: fmt.Errorf("recognized csr %q as %v but subject access review was not approved", r.Name, tried)}
	}
	s := sorts[0]
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range r.Spec.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	ask := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: r.Spec.Username, UID: r.Spec.UID, Groups: r.Spec.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: certificatesv1.GroupName, Version: "*", Resource: "certificatesigningrequests", Subresource: s.subresource, Verb: "create",
		},
	}}
	return plan.Plan{Do: []plan.Action{plan.Create{Object: ask}}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		if answer, ok := out.Results[0].Object.(*authorizationv1.SubjectAccessReview); !ok || !answer.Status.Allowed {
			return review(r, sorts[1:], append(tried, s.subresource))
		}
		r := r.DeepCopy()
		r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: s.message,
		})
		return plan.Plan{Do: []plan.Action{plan.Update{Object: r, Subresource: "approval"}}}
	}}
}

func has(r *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool { return c.Type == kind })
}

func parse(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}
