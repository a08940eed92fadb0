package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
)

// DiscoveryError says which groups could not be asked.
type DiscoveryError struct {
	Groups map[schema.GroupVersion]error
}

func (e *DiscoveryError) Error() string {
	var groups []string
	for gv, err := range e.Groups {
		groups = append(groups, fmt.Sprintf("%s: %v", gv, err))
	}
	slices.Sort(groups)
	return "unable to retrieve the complete list of server APIs: " + strings.Join(groups, ", ")
}

// groupList asks for what the API server serves beside the core group, or
// learns that it is what etag stands for.
func groupList(ctx context.Context, c *http.Client, server *url.URL, etag string) (list *apidiscoveryv2.APIGroupDiscoveryList, tag string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.JoinPath("apis").String(), nil)
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	answer, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}()
	switch answer.StatusCode {
	case http.StatusNotModified:
		return nil, etag, nil
	case http.StatusOK:
	default:
		return nil, "", fmt.Errorf("discovery: %s", answer.Status)
	}
	list = &apidiscoveryv2.APIGroupDiscoveryList{}
	if err := json.NewDecoder(answer.Body).Decode(list); err != nil {
		return nil, "", fmt.Errorf("discovery: %w", err)
	}
	return list, answer.Header.Get("ETag"), nil
}

// foreign is the rows of what a list has beyond the table and can be deleted,
// each in the version that its group prefers.
func foreign(list *apidiscoveryv2.APIGroupDiscoveryList) ([]*kinds.Kind, error) {
	builtin := map[schema.GroupResource]bool{}
	for _, k := range kinds.All() {
		builtin[k.GroupResource()] = true
	}
	var out []*kinds.Kind
	failed := &DiscoveryError{Groups: map[schema.GroupVersion]error{}}
	for _, group := range list.Items {
		seen := map[string]bool{}
		for _, version := range group.Versions {
			gv := schema.GroupVersion{Group: group.Name, Version: version.Version}
			if version.Freshness == apidiscoveryv2.DiscoveryFreshnessStale {
				failed.Groups[gv] = fmt.Errorf("stale GroupVersion discovery: %v", gv)
			}
			for _, r := range version.Resources {
				gr := gv.WithResource(r.Resource).GroupResource()
				if seen[r.Resource] || builtin[gr] || r.ResponseKind == nil || !slices.Contains(r.Verbs, "delete") {
					continue
				}
				seen[r.Resource] = true
				out = append(out, row(gv, r))
			}
		}
	}
	if len(failed.Groups) > 0 {
		return out, failed
	}
	return out, nil
}

func row(gv schema.GroupVersion, r apidiscoveryv2.APIResourceDiscovery) *kinds.Kind {
	k := &kinds.Kind{
		Group: gv.Group, Version: gv.Version, Kind: r.ResponseKind.Kind, Plural: r.Resource, Singular: r.SingularResource,
		Namespaced: r.Scope == apidiscoveryv2.ScopeNamespace, Verbs: slices.Sorted(slices.Values(r.Verbs)), StorageVersion: gv.Version,
	}
	k.New = func() kinds.Object {
		return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: k.APIVersion(), Kind: k.Kind}}
	}
	return k
}

// same tells whether two rows say the same of a resource.
func same(a, b *kinds.Kind) bool {
	return a.GroupVersionKind() == b.GroupVersionKind() && a.Plural == b.Plural && a.Namespaced == b.Namespaced && slices.Equal(a.Verbs, b.Verbs)
}
