package node

import (
	"slices"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/references"
)

type podKey struct{ namespace, name string }

// relations knows which pods are on which node. What a pod refers to is found
// out when a kubelet first asks, so that the many changes of a pod's status
// cost a map entry each and no decoding; attachments and the like are read from
// the cache when asked for.
type relations struct {
	reader  auth.Reader
	volumes *volumes

	mu    sync.RWMutex
	nodes map[string]map[podKey]*pod
	where map[podKey]string
}

// pod is one version of a pod; it is replaced, never changed.
type pod struct {
	key    podKey
	object func() kinds.Object

	once sync.Once
	refs refs
}

type refs struct {
	serviceAccount                                 string
	secrets, configMaps, volumeClaims, otherClaims []string
}

func (r *relations) observe(c auth.Change) {
	key := podKey{c.Namespace, c.Name}
	node := ""
	if c.Object != nil {
		node = c.Fields["spec.nodeName"]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.where[key]; ok && old != node {
		delete(r.where, key)
		delete(r.nodes[old], key)
		if len(r.nodes[old]) == 0 {
			delete(r.nodes, old)
		}
	}
	if node == "" {
		return
	}
	if r.nodes[node] == nil {
		r.nodes[node] = map[podKey]*pod{}
	}
	r.where[key] = node
	r.nodes[node][key] = &pod{key: key, object: c.Object}
}

// references returns what the pod refers to. A mirror pod gives access to
// nothing: its kubelet made it up.
func (p *pod) references() *refs {
	p.once.Do(func() {
		object, ok := p.object().(*corev1.Pod)
		p.object = nil
		if !ok {
			return
		}
		if _, mirror := object.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			return
		}
		p.refs = refs{
			serviceAccount: object.Spec.ServiceAccountName,
			secrets:        slices.Collect(references.Secrets(object)),
			configMaps:     slices.Collect(references.ConfigMaps(object)),
			volumeClaims:   slices.Collect(references.VolumeClaims(object)),
			otherClaims:    slices.Collect(references.ResourceClaims(object)),
		}
	})
	return &p.refs
}

// pods returns the pods of a namespace on a node.
func (r *relations) pods(node, namespace string) []*pod {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []*pod
	for key, p := range r.nodes[node] {
		if key.namespace == namespace {
			out = append(out, p)
		}
	}
	return out
}

func (r *relations) anyPod(node, namespace string, has func(*refs) bool) bool {
	for _, p := range r.pods(node, namespace) {
		if has(p.references()) {
			return true
		}
	}
	return false
}

func (r *relations) pod(node, namespace, name string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.where[podKey{namespace, name}] == node
}

func (r *relations) serviceAccount(node, namespace, name string) bool {
	return r.anyPod(node, namespace, func(x *refs) bool { return x.serviceAccount == name })
}

func (r *relations) configMap(node, namespace, name string) bool {
	return r.anyPod(node, namespace, func(x *refs) bool { return slices.Contains(x.configMaps, name) })
}

func (r *relations) resourceClaim(node, namespace, name string) bool {
	return r.anyPod(node, namespace, func(x *refs) bool { return slices.Contains(x.otherClaims, name) })
}

func (r *relations) volumeClaim(node, namespace, name string) bool {
	return r.anyPod(node, namespace, func(x *refs) bool { return slices.Contains(x.volumeClaims, name) })
}

// secret is one that a pod refers to, or that a volume of a pod's claim needs.
func (r *relations) secret(node, namespace, name string) bool {
	if r.anyPod(node, namespace, func(x *refs) bool { return slices.Contains(x.secrets, name) }) {
		return true
	}
	for _, claim := range r.volumes.served(references.Secret{Namespace: namespace, Name: name}) {
		if r.volumeClaim(node, claim.namespace, claim.name) {
			return true
		}
	}
	return false
}

// The questions about what stands outside of namespaces are sometimes asked
// within one. Nothing is there.

func (r *relations) volume(node, namespace, name string) bool {
	pv, ok := auth.Get[*corev1.PersistentVolume](r.reader, "", name)
	if !ok || pv.Spec.ClaimRef == nil || namespace != "" {
		return false
	}
	return r.volumeClaim(node, pv.Spec.ClaimRef.Namespace, pv.Spec.ClaimRef.Name)
}

func (r *relations) volumeAttachment(node, namespace, name string) bool {
	a, ok := auth.Get[*storagev1.VolumeAttachment](r.reader, "", name)
	return ok && namespace == "" && a.Spec.NodeName == node
}

func (r *relations) resourceSlice(node, namespace, name string) bool {
	s, ok := auth.Get[*resourcev1.ResourceSlice](r.reader, "", name)
	return ok && namespace == "" && s.Spec.NodeName != nil && *s.Spec.NodeName == node
}

func (r *relations) podCertificateRequest(node, namespace, name string) bool {
	q, ok := auth.Get[*certificatesv1.PodCertificateRequest](r.reader, namespace, name)
	return ok && string(q.Spec.NodeName) == node
}
