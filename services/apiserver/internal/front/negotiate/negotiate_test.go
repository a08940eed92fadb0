package negotiate

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func request(accept, agent, query string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/api/v1/pods?"+query, http.NoBody)
	r.Header.Set("Accept", accept)
	r.Header.Set("User-Agent", agent)
	return r
}

func TestAccept(t *testing.T) {
	const partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	tests := []struct {
		name, accept string
		restriction  Restriction
		want         Output
		err          string
	}{
		{name: "nothing", want: Output{}},
		{name: "anything", accept: "*/*", want: Output{}},
		{name: "yaml", accept: "application/yaml", want: Output{Encoding: YAML}},
		{name: "protobuf first", accept: "application/vnd.kubernetes.protobuf,application/json", want: Output{Encoding: Protobuf}},
		{name: "by quality", accept: "application/json;q=0.5,application/yaml", want: Output{Encoding: YAML}},
		{name: "cbor is not there, json is", accept: "application/cbor,application/json", want: Output{}},
		{name: "table as kubectl asks", accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", want: Output{Shape: Table, Version: "v1"}},
		{name: "no table in protobuf", accept: "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json", want: Output{}},
		{name: "metadata", accept: "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", want: Output{Encoding: Protobuf, Shape: MetadataList, Version: "v1"}},
		{name: "unknown version falls through", accept: "application/json;as=Table;v=v3;g=meta.k8s.io,application/yaml", want: Output{Encoding: YAML}},
		{name: "watch stream", accept: "application/vnd.kubernetes.protobuf;stream=watch", want: Output{Encoding: Protobuf}},
		{name: "pretty", accept: "application/json;pretty=1", want: Output{Pretty: true}},
		{name: "plain has no shape", accept: partial, restriction: Plain, err: "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{name: "html", accept: "text/html", err: "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{name: "html or anything", accept: "text/html, */*", want: Output{}},
		{name: "cbor alone", accept: "application/cbor", err: "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Accept(request(tt.accept, "", ""), tt.restriction)
			if message(err) != tt.err || (err == nil && got != tt.want) {
				t.Errorf("got %+v, %q; want %+v, %q", got, message(err), tt.want, tt.err)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestPretty(t *testing.T) {
	tests := []struct {
		name, agent, query string
		want               bool
	}{
		{"kubectl", "kubectl/v1.37", "", false},
		{"curl", "curl/8", "", true},
		{"browser", "Mozilla/5.0 (X11)", "", true},
		{"asked", "kubectl/v1.37", "pretty=true", true},
		{"refused", "curl/8", "pretty=0", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := Accept(request("", tt.agent, tt.query), Objects); got.Pretty != tt.want {
				t.Errorf("pretty %v", got.Pretty)
			}
		})
	}
}

func TestContent(t *testing.T) {
	tests := []struct {
		name, header string
		want         Encoding
		ok           bool
	}{
		{"nothing", "", JSON, true},
		{"charset", "application/json; charset=utf-8", JSON, true},
		{"yaml", "application/yaml", YAML, true},
		{"protobuf", "application/vnd.kubernetes.protobuf", Protobuf, true},
		{"text", "text/plain", JSON, false},
		{"cbor", "application/cbor", JSON, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
			r.Header.Set("Content-Type", tt.header)
			got, err := Content(r)
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
