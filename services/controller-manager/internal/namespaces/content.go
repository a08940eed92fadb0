// Package namespaces gives every namespace what it should have, and empties
// those that are deleted.
package namespaces

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// state is a namespace and the object in it that a controller keeps.
type state[T kinds.Object] struct {
	Namespace *corev1.Namespace
	// Have is nil if Present is false.
	Have    T
	Present bool
}

// keep is a controller that keeps one object of a name in every namespace.
func keep[T kinds.Object](d loop.Deps, controller, name string, compute func(state[T]) plan.Plan) loop.Loop {
	spaces := cluster.Of[*corev1.Namespace](d.API)
	objects := d.API.Named(kinds.For[T](), name)
	return loop.New(d, loop.Spec[loop.Key, state[T]]{
		Name: controller,
		Sources: []loop.Source[loop.Key]{
			{Cache: spaces, Keys: owner.Self},
			{Cache: objects, Keys: func(before, after kinds.Object) []loop.Key {
				o := after
				if o == nil {
					o = before
				}
				if o.GetName() != name {
					return nil
				}
				return []loop.Key{{Name: o.GetNamespace()}}
			}},
		},
		Observe: func(k loop.Key, _ time.Time) (state[T], bool) {
			ns, ok := cluster.Get[*corev1.Namespace](spaces, "", k.Name)
			s := state[T]{Namespace: ns}
			if ok {
				s.Have, s.Present = cluster.Get[T](objects, k.Name, name)
			}
			return s, ok
		},
		Compute: func(s state[T], _ time.Time) plan.Plan {
			if s.Namespace.Status.Phase == corev1.NamespaceTerminating || s.Namespace.DeletionTimestamp != nil {
				return plan.Plan{}
			}
			return compute(s)
		},
	})
}

// ServiceAccounts is serviceaccount-controller: the account named default.
func ServiceAccounts(d loop.Deps) loop.Loop {
	return keep(d, "serviceaccount-controller", "default", func(s state[*corev1.ServiceAccount]) plan.Plan {
		if s.Present {
			return plan.Plan{}
		}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace.Name, Name: "default"}}
		return plan.Plan{Do: []plan.Action{plan.Create{Object: account, MayExist: true}}}
	})
}

const (
	rootCAName            = "kube-root-ca.crt"
	descriptionAnnotation = "kubernetes.io/description"
	// rootCADescription is upstream's text, which people and tools compare.
	rootCADescription = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

// RootCA is root-ca-certificate-publisher-controller: a ConfigMap with the
// certificates, in PEM, that the API server's is signed by.
func RootCA(d loop.Deps, bundle []byte) loop.Loop {
	return keep(d, "root-ca-certificate-publisher-controller", rootCAName, func(s state[*corev1.ConfigMap]) plan.Plan {
		return publish(s, map[string]string{"ca.crt": string(bundle)})
	})
}

func publish(s state[*corev1.ConfigMap], data map[string]string) plan.Plan {
	if !s.Present {
		return plan.Plan{Do: []plan.Action{plan.Create{MayExist: true, Object: &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.Namespace.Name, Name: rootCAName,
				Annotations: map[string]string{descriptionAnnotation: rootCADescription},
			},
			Data: data,
		}}}}
	}
	if maps.Equal(s.Have.Data, data) && s.Have.Annotations[descriptionAnnotation] != "" {
		return plan.Plan{}
	}
	want := s.Have.DeepCopy()
	want.Data = data
	metav1.SetMetaDataAnnotation(&want.ObjectMeta, descriptionAnnotation, rootCADescription)
	return plan.Plan{Do: []plan.Action{plan.Update{Object: want}}}
}
