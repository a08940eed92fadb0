package definitions

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	earlier = metav1.NewTime(time.Unix(1e9, 0))
	later   = metav1.NewTime(time.Unix(2e9, 0))
)

func wants(kind string, short ...string) names {
	return names{Plural: kind + "s", Singular: kind, Kind: kind, ListKind: kind + "List", ShortNames: short}
}

// said is what a status says, without times: TYPE=STATUS(REASON): MESSAGE.
func said(s *apiextensionsv1.CustomResourceDefinitionStatus) map[string]string {
	out := map[string]string{}
	for _, c := range s.Conditions {
		out[string(c.Type)] = string(c.Status) + "(" + c.Reason + "): " + c.Message
	}
	return out
}

const (
	accepted    = "True(NoConflicts): no conflicts found"
	established = "True(InitialNamesAccepted): the initial names have been accepted"
	notAccepted = "False(NotAccepted): not all names are accepted"
)

func TestNames(t *testing.T) {
	tests := []struct {
		name     string
		wanted   names
		have     names
		claimed  []names
		accepted names
		want     map[string]string
	}{
		{
			"free", wants("a", "x"),
			names{},
			[]names{wants("b", "y")},
			wants("a", "x"),
			map[string]string{"NamesAccepted": accepted, "Established": established},
		},
		{
			"kind taken",
			names{Plural: "as", Singular: "a", Kind: "b", ListKind: "aList"},
			names{},
			[]names{wants("b")},
			names{Plural: "as", Singular: "a", ListKind: "aList"},
			map[string]string{"NamesAccepted": `False(KindConflict): "b" is already in use`, "Established": notAccepted},
		},
		{
			"of several conflicts the last is told", wants("b"),
			names{},
			[]names{wants("b")},
			names{},
			map[string]string{"NamesAccepted": `False(ListKindConflict): "bList" is already in use`, "Established": notAccepted},
		},
		{
			"short names are taken together or not at all", wants("a", "y", "bs", "z"),
			names{},
			[]names{wants("b", "y")},
			wants("a"),
			map[string]string{"NamesAccepted": `False(ShortNamesConflict): ["y" is already in use, "bs" is already in use]`, "Established": notAccepted},
		},
		{
			"its own are no conflict", wants("a", "x", "z"), wants("a", "x"),
			[]names{wants("a", "x"), wants("b")},
			wants("a", "x", "z"),
			map[string]string{"NamesAccepted": accepted, "Established": established},
		},
		{
			"what is taken stays what it was", wants("a", "y"), wants("a", "x"),
			[]names{wants("a", "x"), wants("b", "y")},
			wants("a", "x"),
			map[string]string{"NamesAccepted": `False(ShortNamesConflict): "y" is already in use`, "Established": notAccepted},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &apiextensionsv1.CustomResourceDefinition{}
			d.Spec.Names, d.Status.AcceptedNames = tt.wanted, tt.have
			got := status(d, tt.claimed, later)
			if diff := cmp.Diff(tt.accepted, got.AcceptedNames); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.want, said(&got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A definition that was established stays so, and what does not change keeps
// its time.
func TestEstablishedStays(t *testing.T) {
	d := &apiextensionsv1.CustomResourceDefinition{}
	d.Spec.Names = wants("a")
	d.Status = status(d, nil, earlier)
	d.Spec.Names.ShortNames = []string{"y"}
	got := status(d, []names{wants("a"), wants("b", "y")}, later)
	if diff := cmp.Diff(map[string]string{"NamesAccepted": `False(ShortNamesConflict): "y" is already in use`, "Established": established}, said(&got)); diff != "" {
		t.Error(diff)
	}
	if c := find(&got, apiextensionsv1.NamesAccepted); !c.LastTransitionTime.Equal(&later) {
		t.Errorf("the conflict is of %v", c.LastTransitionTime)
	}
	if c := find(&got, apiextensionsv1.Established); !c.LastTransitionTime.Equal(&earlier) {
		t.Errorf("established is of %v", c.LastTransitionTime)
	}
}

func TestApproval(t *testing.T) {
	const see = ", see https://github.com/kubernetes/enhancements/pull/1111"
	tests := []struct{ name, group, annotation, want string }{
		{"another group", "example.com", "", ""},
		{"a group that only ends alike", "notk8s.io", "", ""},
		{"none", "a.k8s.io", "", `False(MissingAnnotation): protected groups must have approval annotation "api-approved.kubernetes.io"` + see},
		{"approved", "k8s.io", "https://example.com/1", "True(ApprovedAnnotation): approved in https://example.com/1"},
		{"bypassed", "a.kubernetes.io", "unapproved, a test", `False(UnapprovedAnnotation): not approved: "unapproved, a test"`},
		{"nonsense", "a.k8s.io", "yes", `False(InvalidAnnotation): protected groups must have approval annotation "api-approved.kubernetes.io" with either a URL or a reason starting with "unapproved"` + see},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &apiextensionsv1.CustomResourceDefinition{}
			d.Spec.Group = tt.group
			if tt.annotation != "" {
				d.Annotations = map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: tt.annotation}
			}
			got := status(d, nil, later)
			if said := said(&got)["KubernetesAPIApprovalPolicyConformant"]; said != tt.want {
				t.Errorf("got  %s\nwant %s", said, tt.want)
			}
		})
	}
}

func TestInvalidBundleIsNotEstablished(t *testing.T) {
	d := &apiextensionsv1.CustomResourceDefinition{}
	d.Spec.Names = wants("a")
	d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook:  &apiextensionsv1.WebhookConversion{ClientConfig: &apiextensionsv1.WebhookClientConfig{CABundle: []byte("nonsense")}},
	}
	got := status(d, nil, later)
	if s := said(&got)["Established"]; s != "False(InvalidCABundle): The conversion webhook CABundle is invalid" {
		t.Error(s)
	}
}

// Schemas of before they had to be structural are told of until they are.
func TestStructural(t *testing.T) {
	d := &apiextensionsv1.CustomResourceDefinition{}
	d.Spec.Names = wants("a")
	d.Spec.PreserveUnknownFields = true
	d.Status = status(d, nil, earlier)
	if s := said(&d.Status)["NonStructuralSchema"]; s != "True(Violations): spec.preserveUnknownFields: Invalid value: true: must be false" {
		t.Error(s)
	}
	d.Spec.PreserveUnknownFields = false
	got := status(d, nil, later)
	if find(&got, apiextensionsv1.NonStructuralSchema) != nil {
		t.Errorf("it is still told: %v", said(&got))
	}
}
