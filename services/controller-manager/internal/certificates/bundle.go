package certificates

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

const servingSigner = "kubernetes.io/kube-apiserver-serving"

// Publisher is kube-apiserver-serving-clustertrustbundle-publisher-controller:
// one ClusterTrustBundle with the certificates, in PEM, that the API server's
// is signed by, named after their hash.
func Publisher(d loop.Deps, bundle []byte) loop.Loop {
	all := cluster.Of[*certificatesv1.ClusterTrustBundle](d.API)
	key := loop.Key{Name: bundleName(bundle)}
	return loop.New(d, loop.Spec[loop.Key, []*certificatesv1.ClusterTrustBundle]{
		Name: "kube-apiserver-serving-clustertrustbundle-publisher-controller", Workers: 1, Start: []loop.Key{key},
		Sources: []loop.Source[loop.Key]{{Cache: all, Keys: func(before, after kinds.Object) []loop.Key {
			for _, o := range []kinds.Object{before, after} {
				if b, ok := o.(*certificatesv1.ClusterTrustBundle); ok && b.Spec.SignerName == servingSigner {
					return []loop.Key{key}
				}
			}
			return nil
		}}},
		Observe: func(loop.Key, time.Time) ([]*certificatesv1.ClusterTrustBundle, bool) {
			return cluster.List(all, "", func(b *certificatesv1.ClusterTrustBundle) bool { return b.Spec.SignerName == servingSigner }), true
		},
		Compute: func(have []*certificatesv1.ClusterTrustBundle, _ time.Time) plan.Plan { return publish(have, bundle) },
	})
}

func bundleName(bundle []byte) string {
	sum := sha256.Sum256(bundle)
	return fmt.Sprintf("%s:%x", strings.ReplaceAll(servingSigner, "/", ":"), sum[:12])
}

func publish(have []*certificatesv1.ClusterTrustBundle, bundle []byte) plan.Plan {
	var p plan.Plan
	name, found := bundleName(bundle), false
	var others plan.Parallel
	for _, b := range have {
		switch {
		case b.Name != name:
			others.Parts = append(others.Parts, plan.DeleteOf(b))
		case b.Spec.TrustBundle != string(bundle):
			b = b.DeepCopy()
			b.Spec.TrustBundle = string(bundle)
			p.Add(plan.Update{Object: b})
			fallthrough
		default:
			found = true
		}
	}
	if !found {
		p.Add(plan.Create{Object: &certificatesv1.ClusterTrustBundle{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: servingSigner, TrustBundle: string(bundle)},
		}})
	}
	if len(others.Parts) > 0 {
		p.Add(others)
	}
	return p
}
