package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

const (
	maxTrustBundle = 1 << 20
	omitted        = "<value omitted>"
)

// ClusterTrustBundle is the behaviour of certificates.k8s.io/v1
// ClusterTrustBundle.
func ClusterTrustBundle() strategy.Kind[*certificatesv1.ClusterTrustBundle] {
	return strategy.Kind[*certificatesv1.ClusterTrustBundle]{
		ValidateCreate: func(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
			return append(validateBundle(b), validateAnchors(specPath.Child("trustBundle"), b.Spec.TrustBundle)...)
		},
		ValidateUpdate: func(b, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
			errs := validateBundle(b)
			if b.Spec.TrustBundle != old.Spec.TrustBundle {
				errs = append(errs, validateAnchors(specPath.Child("trustBundle"), b.Spec.TrustBundle)...)
			}
			return append(errs, check.Unchanged(specPath.Child("signerName"), b.Spec.SignerName, old.Spec.SignerName)...)
		},
		// The rule depends on the signer, so validateBundle has it.
		NameRule: func(string, bool) []string { return nil },
		Fields: func(b *certificatesv1.ClusterTrustBundle) fields.Set {
			return fields.Set{"spec.signerName": b.Spec.SignerName}
		},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("SignerName", certificatesv1.ClusterTrustBundleSpec{}.SwaggerDoc()["signerName"]),
		),
		Cells: func(b *certificatesv1.ClusterTrustBundle) []any {
			return []any{b.Name, cells.Or(b.Spec.SignerName, "<none>")}
		},
	}
}

func validateBundle(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
	rule := core.TrustBundleName(b.Spec.SignerName)
	var errs field.ErrorList
	if b.GenerateName != "" {
		errs = check.All(field.NewPath("metadata", "generateName"), b.GenerateName, rule(b.GenerateName, true))
	}
	if b.Name != "" {
		errs = append(errs, check.Name(field.NewPath("metadata", "name"), b.Name, rule)...)
	}
	if b.Spec.SignerName != "" {
		errs = append(errs, core.ValidateSignerName(specPath.Child("signerName"), b.Spec.SignerName)...)
	}
	return errs
}

func validateAnchors(p *field.Path, bundle string) field.ErrorList {
	if len(bundle) > maxTrustBundle {
		return field.ErrorList{field.TooLong(p, "", maxTrustBundle)}
	}
	var errs field.ErrorList
	anchors := map[string][]int{}
	var order []string
	rest := []byte(bundle)
	for i := 0; ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if wrong := wrongAnchor(block); wrong != "" {
			errs = append(errs, field.Invalid(p, omitted, fmt.Sprintf("entry %d %s", i, wrong)))
			continue
		}
		if anchors[string(block.Bytes)] == nil {
			order = append(order, string(block.Bytes))
		}
		anchors[string(block.Bytes)] = append(anchors[string(block.Bytes)], i)
	}
	if len(errs) > 0 {
		return errs
	}
	if len(order) == 0 {
		errs = append(errs, field.Invalid(p, omitted, "at least one trust anchor must be provided"))
	}
	for _, anchor := range order {
		if len(anchors[anchor]) > 1 {
			errs = append(errs, field.Invalid(p, omitted, fmt.Sprintf("duplicate trust anchor (indices %v)", anchors[anchor])))
		}
	}
	return errs
}

func wrongAnchor(block *pem.Block) string {
	if block.Type != "CERTIFICATE" {
		return "has bad block type: " + block.Type
	}
	if len(block.Headers) != 0 {
		return "has PEM block headers"
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return "does not parse as X.509"
	case !cert.IsCA:
		return "does not have the CA bit set"
	case !cert.BasicConstraintsValid:
		return "has invalid basic constraints"
	}
	return ""
}
