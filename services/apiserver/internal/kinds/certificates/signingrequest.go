package certificates

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

type request = *certificatesv1.CertificateSigningRequest

// CertificateSigningRequest is the behaviour of certificates.k8s.io/v1
// CertificateSigningRequest. Who approves and who signs are different people,
// so each has a subresource: one for the approval, one for the certificate.
func CertificateSigningRequest() strategy.Kind[request] {
	// Upstream's descriptions are still those of the beta version.
	spec := certificatesv1beta1.CertificateSigningRequestSpec{}.SwaggerDoc()
	return strategy.Kind[request]{
		PrepareCreate: func(r request) {
			r.Status = certificatesv1.CertificateSigningRequestStatus{}
		},
		Author: setRequester,
		PrepareUpdate: func(r, old request) {
			r.Spec, r.Status = old.Spec, old.Status
		},
		ValidateCreate: func(r request) field.ErrorList { return validateRequest(r, nil) },
		ValidateUpdate: func(r, old request) field.ErrorList { return validateRequestUpdate(r, old, mayChange{}) },
		NameRule:       func(string, bool) []string { return nil },
		Status: &strategy.Sub[request]{
			PrepareUpdate: func(r, old request) {
				r.Spec = old.Spec
				keepConditions(r, old, certificatesv1.CertificateApproved)
				keepConditions(r, old, certificatesv1.CertificateDenied)
				setConditionTimes(r, old)
			},
			ValidateUpdate: func(r, old request) field.ErrorList {
				return validateRequestUpdate(r, old, mayChange{certificate: true})
			},
		},
		Subresources: map[string]*strategy.Sub[request]{"approval": {
			PrepareUpdate: func(r, old request) {
				setConditionTimes(r, old)
				conditions := r.Status.Conditions
				r.Spec, r.Status = old.Spec, old.Status
				r.Status.Conditions = conditions
			},
			ValidateUpdate: func(r, old request) field.ErrorList { return validateRequestUpdate(r, old, mayChange{approval: true}) },
		}},
		Fields:                   func(r request) fields.Set { return fields.Set{"spec.signerName": r.Spec.SignerName} },
		AllowUnconditionalUpdate: true,
		ResetFields: map[string][]string{
			"": {"spec", "status"}, "status": {"spec", "status.conditions"}, "approval": {"spec", "status.certificate"},
		},
		Columns: cells.Columns(
			cells.Name(), cells.Age(),
			cells.Text("SignerName", spec["signerName"]),
			cells.Text("Requestor", spec["request"]),
			cells.Text("RequestedDuration", spec["expirationSeconds"]),
			cells.Text("Condition", certificatesv1beta1.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"]),
		),
		Cells: requestCells,
	}
}

func setRequester(r request, requester user.Info) {
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
	if requester == nil {
		return
	}
	r.Spec.Username, r.Spec.UID, r.Spec.Groups = requester.GetName(), requester.GetUID(), requester.GetGroups()
	for key, values := range requester.GetExtra() {
		if r.Spec.Extra == nil {
			r.Spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		r.Spec.Extra[key] = values
	}
}

// keepConditions lets a signer send the approval back but not alter it. If it
// sends more or fewer of them, validation says so.
func keepConditions(r, old request, of certificatesv1.RequestConditionType) {
	was, is := indexesOf(old, of), indexesOf(r, of)
	if len(was) != len(is) {
		return
	}
	for i := range is {
		r.Status.Conditions[is[i]] = old.Status.Conditions[was[i]]
	}
}

func indexesOf(r request, of certificatesv1.RequestConditionType) []int {
	var indexes []int
	for i := range r.Status.Conditions {
		if r.Status.Conditions[i].Type == of {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

func setConditionTimes(r, old request) {
	now := metav1.Now()
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, was := range old.Status.Conditions {
			if was.Type == c.Type && was.Status == c.Status && !was.LastTransitionTime.IsZero() {
				c.LastTransitionTime = was.LastTransitionTime
				break
			}
		}
	}
}

func requestCells(r request) []any {
	wanted := "<none>"
	if seconds := r.Spec.ExpirationSeconds; seconds != nil {
		wanted = duration.HumanDuration(time.Duration(*seconds) * time.Second)
	}
	return []any{r.Name, cells.AgeOf(r), cells.Or(r.Spec.SignerName, "<none>"), r.Spec.Username, wanted, requestState(r)}
}

func requestState(r request) string {
	has := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range r.Status.Conditions {
		has[c.Type] = true
	}
	state := "Pending"
	switch {
	case has[certificatesv1.CertificateDenied]:
		state = "Denied"
	case has[certificatesv1.CertificateApproved]:
		state = "Approved"
	}
	if has[certificatesv1.CertificateFailed] {
		state += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}
