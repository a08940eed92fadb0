package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// PodCertificateRequest is the behaviour of certificates.k8s.io/v1
// PodCertificateRequest. The keys in it are not verified.
func PodCertificateRequest() strategy.Kind[*certificatesv1.PodCertificateRequest] {
	doc := certificatesv1.PodCertificateRequestSpec{}.SwaggerDoc()
	k := strategy.Outline[*certificatesv1.PodCertificateRequest]()
	k.AllowUnconditionalUpdate = false
	k.PrepareCreate = func(r *certificatesv1.PodCertificateRequest) { r.Status = certificatesv1.PodCertificateRequestStatus{} }
	k.PrepareUpdate = func(r, old *certificatesv1.PodCertificateRequest) { r.Status = old.Status }
	k.ValidateCreate = func(r *certificatesv1.PodCertificateRequest) field.ErrorList {
		return core.ValidateSignerName(specPath.Child("signerName"), r.Spec.SignerName)
	}
	k.ValidateUpdate = func(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
		return check.Unchanged(specPath, r.Spec, old.Spec)
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
