package volumes

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// byClaim is the index of pods by the claims their volumes name.
const byClaim = "claim"

func claimIndex(v any) ([]string, error) {
	p, ok := v.(*corev1.Pod)
	if !ok {
		return nil, nil
	}
	var out []string
	for _, name := range pods.Claims(p) {
		out = append(out, p.Namespace+"/"+name)
	}
	return out, nil
}

// podClaims is a pod and those of its claims that are there.
type podClaims struct {
	Pod    *corev1.Pod
	Claims map[string]*corev1.PersistentVolumeClaim
}

// Ephemeral is ephemeral-volume-controller: the claims that pods have made for
// themselves.
func Ephemeral(d loop.Deps) loop.Loop {
	podCache, claims := cluster.Of[*corev1.Pod](d.API), cluster.Of[*corev1.PersistentVolumeClaim](d.API)
	podCache.Index(byClaim, claimIndex)
	return loop.New(d, loop.Spec[loop.Key, podClaims]{
		Name: "ephemeral-volume-controller", Component: "ephemeral_volume",
		Sources: []loop.Source[loop.Key]{
			{Cache: podCache, Keys: func(before, after kinds.Object) []loop.Key {
				if p, ok := after.(*corev1.Pod); !ok || before != nil || !wantsClaims(p) {
					return nil
				}
				return owner.Self(nil, after)
			}},
			{Cache: claims, Keys: func(before, after kinds.Object) []loop.Key {
				if after != nil {
					return nil
				}
				var out []loop.Key
				for _, p := range cluster.By[*corev1.Pod](podCache, byClaim, before.GetNamespace()+"/"+before.GetName()) {
					if wantsClaims(p) {
						out = append(out, owner.Self(nil, p)...)
					}
				}
				return out
			}},
		},
		Observe: func(k loop.Key, _ time.Time) (podClaims, bool) {
			p, ok := cluster.Get[*corev1.Pod](podCache, k.Namespace, k.Name)
			if !ok || !wantsClaims(p) {
				return podClaims{}, false
			}
			s := podClaims{p, map[string]*corev1.PersistentVolumeClaim{}}
			for _, name := range pods.Claims(p) {
				if c, ok := cluster.Get[*corev1.PersistentVolumeClaim](claims, k.Namespace, name); ok {
					s.Claims[name] = c
				}
			}
			return s, true
		},
		Compute: func(s podClaims, _ time.Time) plan.Plan { return makeClaims(s) },
	})
}

func wantsClaims(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	for _, v := range p.Spec.Volumes {
		if v.Ephemeral != nil {
			return true
		}
	}
	return false
}

// makeClaims makes what is missing. A claim of the name that is somebody
// else's is told and left alone.
func makeClaims(s podClaims) plan.Plan {
	var p plan.Plan
	for i := range s.Pod.Spec.Volumes {
		v := &s.Pod.Spec.Volumes[i]
		if v.Ephemeral == nil {
			continue
		}
		name := ephemeral.VolumeClaimName(s.Pod, v)
		if have := s.Claims[name]; have != nil {
			if err := ephemeral.VolumeIsForPod(s.Pod, have); err != nil {
				p.Add(plan.Event{
					About: s.Pod, Type: corev1.EventTypeWarning, Reason: failedBinding,
					Message: fmt.Sprintf("ephemeral volume %s: %v", v.Name, err),
				})
				p.Err = fmt.Errorf("pod %s/%s, ephemeral volume %s: %w", s.Pod.Namespace, s.Pod.Name, v.Name, err)
				return p
			}
			continue
		}
		template := v.Ephemeral.VolumeClaimTemplate
		p.Add(plan.Create{
			Object: &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: s.Pod.Namespace, Name: name, Annotations: template.Annotations, Labels: template.Labels,
					OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s.Pod, corev1.SchemeGroupVersion.WithKind("Pod"))},
				},
				Spec: template.Spec,
			},
			Say: plan.Say{About: s.Pod, Failed: plan.Note{
				Reason: failedBinding, Format: fmt.Sprintf("ephemeral volume %s: create PVC %s: %%v", v.Name, name),
			}},
		})
	}
	return p
}
