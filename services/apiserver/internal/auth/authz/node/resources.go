package node

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func (a *Authorizer) volumeClaim(node string, r authorizer.Attributes) answer {
	if r.GetSubresource() != "status" {
		return a.get(a.relations.volumeClaim)(node, r)
	}
	if v := r.GetVerb(); v != "update" && v != "patch" {
		return no("can only get/update/patch this type")
	}
	return relation(node, r, a.relations.volumeClaim)
}

func (a *Authorizer) serviceAccount(node string, r authorizer.Attributes) answer {
	if r.GetVerb() == "get" && r.GetSubresource() == "" {
		return a.readNamespaced(a.relations.serviceAccount)(node, r)
	}
	switch {
	case r.GetVerb() != "create" || r.GetName() == "":
		return no("can only create tokens for individual service accounts")
	case r.GetSubresource() != "token":
		return no("can only create token subresource of serviceaccount")
	}
	return relation(node, r, a.relations.serviceAccount)
}

// lease allows a node its own heartbeat. The name is not known on create; the
// NodeRestriction admission plugin looks at it then.
func lease(node string, r authorizer.Attributes) answer {
	verb := r.GetVerb()
	switch {
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, verb):
		return no("can only get, create, update, patch, or delete a node lease")
	case r.GetNamespace() != corev1.NamespaceNodeLease:
		return no("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case verb != "create" && r.GetName() != node:
		return no("can only access node lease with the same name as the requesting node")
	}
	return allow()
}

func csiNode(node string, r authorizer.Attributes) answer {
	verb := r.GetVerb()
	switch {
	case r.GetSubresource() == "status":
		return no("CSINode status access requires CSIVolumeHealth feature")
	case r.GetSubresource() != "":
		return no("cannot authorize CSINode subresources")
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, verb):
		return no("can only get, create, update, patch, or delete a CSINode")
	case verb != "create" && r.GetName() != node:
		return no("can only access CSINode with the same name as the requesting node")
	}
	return allow()
}

func (a *Authorizer) resourceSlice(node string, r authorizer.Attributes) answer {
	if r.GetSubresource() != "" {
		return no("cannot authorize ResourceSlice subresources")
	}
	switch r.GetVerb() {
	case "create":
		// NodeRestriction compares the new object's nodeName.
		return allow()
	case "get", "update", "patch", "delete":
		return relation(node, r, a.relations.resourceSlice)
	case "watch", "list", "deletecollection":
		if selects(r, "spec.nodeName", node) {
			return allow()
		}
		return no("can only list/watch/deletecollection resourceslices with nodeName field selector")
	}
	return no("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection")
}

func (a *Authorizer) podCertificateRequest(node string, r authorizer.Attributes) answer {
	if r.GetSubresource() != "" {
		return no("nodes may not access the status subresource of PodCertificateRequests")
	}
	switch r.GetVerb() {
	case "create":
		return allow()
	case "get":
		return relation(node, r, a.relations.podCertificateRequest)
	case "list", "watch":
		if selects(r, "spec.nodeName", node) {
			return allow()
		}
		return no("can only list/watch podcertificaterequests with nodeName field selector")
	}
	return no("nodes may not %s podcertificaterequests", r.GetVerb())
}

// nodeObject allows writes of any Node (NodeRestriction narrows them to its own)
// and reads of its own, also before it exists.
func nodeObject(name string, r authorizer.Attributes) answer {
	switch r.GetSubresource() {
	case "":
		switch r.GetVerb() {
		case "create", "update", "patch":
			return allow()
		case "get", "list", "watch":
			switch r.GetName() {
			case name:
				return allow()
			case "":
				return no("node '%s' cannot read all nodes, only its own Node object", name)
			}
			return no("node '%s' cannot read '%s', only its own Node object", name, r.GetName())
		}
	case "status":
		if v := r.GetVerb(); v == "update" || v == "patch" {
			return allow()
		}
	}
	return answer{}
}

// pod allows reading the node's own pods, and writing what NodeRestriction
// narrows to them.
func (a *Authorizer) pod(node string, r authorizer.Attributes) answer {
	verb := r.GetVerb()
	switch r.GetSubresource() {
	case "":
		switch verb {
		case "get":
			return relation(node, r, a.relations.pod)
		case "list", "watch":
			if selects(r, "spec.nodeName", node) {
				return allow()
			}
			if r.GetName() != "" {
				return relation(node, r, a.relations.pod)
			}
			return no("can only list/watch pods with spec.nodeName field selector")
		case "create", "delete":
			return allow()
		}
	case "status":
		if verb == "update" || verb == "patch" {
			return allow()
		}
	case "eviction":
		if verb == "create" {
			return allow()
		}
	}
	return answer{}
}
