package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// PodCertificateRequest is the behaviour of certificates.k8s.io/v1
// PodCertificateRequest.
func PodCertificateRequest() strategy.Kind[*certificatesv1.PodCertificateRequest] {
	doc := certificatesv1.PodCertificateRequestSpec{}.SwaggerDoc()
	k := strategy.Outline[*certificatesv1.PodCertificateRequest]()
	k.AllowUnconditionalUpdate = false
	k.Default = func(r *certificatesv1.PodCertificateRequest) {
		if r.Spec.MaxExpirationSeconds == nil {
			r.Spec.MaxExpirationSeconds = ptr.To[int32](longestKubernetesLife)
		}
	}
	k.PrepareCreate = func(r *certificatesv1.PodCertificateRequest) { r.Status = certificatesv1.PodCertificateRequestStatus{} }
	k.PrepareUpdate = func(r, old *certificatesv1.PodCertificateRequest) { r.Status = old.Status }
	k.ValidateCreate = validatePodRequest
	status := k.Status.PrepareUpdate
	k.Status.PrepareUpdate = func(r, old *certificatesv1.PodCertificateRequest) {
		status(r, old)
		metav1.ResetObjectMetaForStatus(&r.ObjectMeta, &old.ObjectMeta)
	}
	k.ResetFields = map[string][]string{"": {"status"}, "status": {"metadata", "spec"}}
	k.Status.ValidateUpdate = validatePodAnswer
	k.ValidateUpdate = func(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
		if equality.Semantic.DeepEqual(r.Spec, old.Spec) {
			return nil
		}
		return field.ErrorList{field.Invalid(specPath, shownSpec(&r.Spec), check.Immutable)}
	}
	k.Fields = func(r *certificatesv1.PodCertificateRequest) fields.Set {
		return fields.Set{"spec.signerName": r.Spec.SignerName, "spec.podName": r.Spec.PodName, "spec.nodeName": string(r.Spec.NodeName)}
	}
	k.Columns = cells.Columns(
		cells.Name(),
		cells.Text("PodName", doc["podName"]),
		cells.Text("ServiceAccountName", doc["serviceAccountName"]),
		cells.Text("NodeName", doc["nodeName"]),
		cells.Text("SignerName", doc["signerName"]),
		cells.Text("State", "Is the request Pending, Issued, Denied, or Failed?"),
		cells.Text("UnverifiedUserAnnotations", doc["unverifiedUserAnnotations"]),
	)
	k.Cells = func(r *certificatesv1.PodCertificateRequest) []any {
		state := "Pending"
		for _, c := range r.Status.Conditions {
			switch c.Type {
			case certificatesv1.PodCertificateRequestConditionTypeIssued,
				certificatesv1.PodCertificateRequestConditionTypeDenied,
				certificatesv1.PodCertificateRequestConditionTypeFailed:
				state = c.Type
			}
		}
		return []any{
			r.Name, r.Spec.PodName, r.Spec.ServiceAccountName, string(r.Spec.NodeName), r.Spec.SignerName, state,
			cells.Labels(r.Spec.UnverifiedUserAnnotations),
		}
	}
	return k
}

// shownSpec is a spec as upstream shows it: with the fields that only older
// versions have.
func shownSpec(spec *certificatesv1.PodCertificateRequestSpec) any {
	return struct {
		SignerName, PodName       string
		PodUID                    types.UID
		ServiceAccountName        string
		ServiceAccountUID         types.UID
		NodeName                  types.NodeName
		NodeUID                   types.UID
		MaxExpirationSeconds      *int32
		PKIXPublicKey             []byte
		ProofOfPossession         []byte
		StubPKCS10Request         []byte
		UnverifiedUserAnnotations map[string]string
	}{
		SignerName: spec.SignerName, PodName: spec.PodName, PodUID: spec.PodUID,
		ServiceAccountName: spec.ServiceAccountName, ServiceAccountUID: spec.ServiceAccountUID, NodeName: spec.NodeName, NodeUID: spec.NodeUID,
		MaxExpirationSeconds: spec.MaxExpirationSeconds, StubPKCS10Request: spec.StubPKCS10Request, UnverifiedUserAnnotations: spec.UnverifiedUserAnnotations,
	}
}
