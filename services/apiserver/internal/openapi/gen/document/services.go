package document

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apimachineryversion "k8s.io/apimachinery/pkg/version"

	"coracle.local/libs/kinds"
)

// serviceRoutes are those that serve no objects: versions, groups, keys.
func serviceRoutes() []*container {
	one := func(root, operation, description string, answer any, types []string) *container {
		r := &route{
			method: http.MethodGet, path: root, verb: "get", operation: operation, description: description,
			consumes: types, produces: types,
		}
		r.answers(answer, 200)
		return &container{root: root, routes: []*route{r}}
	}
	out := []*container{
		one("/api/", "APIVersions", "get available API versions", &metav1.APIVersions{}, mediaTypes),
		one("/apis/", "APIVersions", "get available API versions", &metav1.APIGroupList{}, mediaTypes),
		one("/version/", "CodeVersion", "get the version information for this server", &apimachineryversion.Info{}, []string{"application/json"}),
	}
	keys := one("/openid/v1/jwks/", "ServiceAccountIssuerOpenIDKeyset",
		"get service account issuer OpenID JSON Web Key Set (contains public token verification keys)", "", []string{"application/jwk-set+json"})
	configuration := one("/.well-known/openid-configuration/", "ServiceAccountIssuerOpenIDConfiguration",
		"get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'", "", []string{"application/json"})
	keys.routes[0].consumes, configuration.routes[0].consumes = nil, nil
	out = append(out, keys, configuration)
	seen := map[string]bool{"": true}
	for _, gv := range kinds.GroupVersions() {
		if !seen[gv.Group] {
			seen[gv.Group] = true
			out = append(out, one("/apis/"+gv.Group+"/", "APIGroup", "get information of a group", &metav1.APIGroup{}, mediaTypes))
		}
	}
	return out
}

// resourcesRoute lists the resources of a group version.
func resourcesRoute(gv schema.GroupVersion) *route {
	r := &route{
		method: http.MethodGet, path: rootOf(gv), verb: "get", operation: "APIResources",
		description: "get available resources", consumes: mediaTypes, produces: mediaTypes,
	}
	r.answers(&metav1.APIResourceList{}, 200)
	return r
}
