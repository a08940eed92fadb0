package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// How long requests stay, by what became of them.
const (
	handledStays = time.Hour
	pendingStays = 24 * time.Hour
	podStays     = 15 * time.Minute
)

// Cleaner is certificatesigningrequest-cleaner-controller.
func Cleaner(d loop.Deps) loop.Loop {
	return cleaner(d, "certificatesigningrequest-cleaner-controller", ends)
}

// PodCleaner is podcertificaterequest-cleaner-controller.
func PodCleaner(d loop.Deps) loop.Loop {
	return cleaner(d, "podcertificaterequest-cleaner-controller", func(r *certificatesv1.PodCertificateRequest) time.Time {
		return r.CreationTimestamp.Add(podStays)
	})
}

// cleaner deletes objects after the time at which they end, if that is not
// zero. Upstream looks every so often and so is later.
func cleaner[T kinds.Object](d loop.Deps, name string, ends func(T) time.Time) loop.Loop {
	all := cluster.Of[T](d.API)
	return loop.New(d, loop.Spec[loop.Key, T]{
		Name: name, Workers: 1,
		Sources: []loop.Source[loop.Key]{{Cache: all, Keys: owner.Self}},
		Observe: func(k loop.Key, _ time.Time) (T, bool) { return cluster.Get[T](all, k.Namespace, k.Name) },
		Compute: func(o T, now time.Time) plan.Plan {
			var p plan.Plan
			switch end := ends(o); {
			case end.IsZero() || o.GetDeletionTimestamp() != nil:
			case now.After(end):
				p.Add(plan.DeleteOf(o))
			default:
				p.Again(end.Sub(now) + time.Second)
			}
			return p
		},
	})
}

// ends is when a request is no longer of use, zero if nobody can tell yet.
func ends(r *certificatesv1.CertificateSigningRequest) time.Time {
	var first time.Time
	by := func(t time.Time) {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	after := func(t time.Time, stays time.Duration) {
		if !t.IsZero() {
			by(t.Add(stays))
		}
	}
	if len(r.Status.Conditions) == 0 {
		after(r.CreationTimestamp.Time, pendingStays)
	}
	for _, c := range r.Status.Conditions {
		switch c.Type {
		case certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			after(c.LastUpdateTime.Time, handledStays)
		case certificatesv1.CertificateApproved:
			if len(r.Status.Certificate) == 0 {
				after(c.LastUpdateTime.Time, pendingStays)
				continue
			}
			after(c.LastUpdateTime.Time, handledStays)
			by(expiry(r.Status.Certificate))
		}
	}
	return first
}

// expiry is when a certificate in PEM ends, zero if it is none.
func expiry(text []byte) time.Time {
	block, _ := pem.Decode(text)
	if block == nil {
		return time.Time{}
	}
	c, err := x509.ParseCertificates(block.Bytes)
	if err != nil || len(c) == 0 {
		return time.Time{}
	}
	return c[0].NotAfter
}
