package cache

import (
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/etcd"
)

// Message is the encoded message of a stored value; of a custom resource it is
// the value. Upstream stores a few other kinds as JSON; these are encoded anew.
func Message(k *kinds.Kind, value []byte) ([]byte, error) {
	if k.Custom() {
		return text(k, value)
	}
	if !etcd.IsEnveloped(value) {
		return encoded(k, value)
	}
	apiVersion, kind, message, err := etcd.Open(value)
	if err != nil {
		return nil, err
	}
	// Both versions are the same message.
	if kind != k.Kind || (apiVersion != k.StorageAPIVersion() && apiVersion != k.APIVersion()) {
		return nil, otherKind(k, apiVersion, kind)
	}
	if !wellFormed(k, message) {
		return nil, errors.New("the stored message is malformed")
	}
	return message, nil
}

func otherKind(k *kinds.Kind, apiVersion, kind string) error {
	return fmt.Errorf("the stored object is a %s of %s, not a %s of %s", kind, apiVersion, k.Kind, k.APIVersion())
}

// encoded makes a message of an object that is stored as JSON.
func encoded(k *kinds.Kind, value []byte) ([]byte, error) {
	var t metav1.TypeMeta
	if err := json.Unmarshal(value, &t); err != nil {
		return nil, err
	}
	switch {
	case t.Kind == k.Kind && t.APIVersion == k.APIVersion():
	case t.Kind == "CustomResourceDefinition" && t.Kind == k.Kind && t.APIVersion == k.Group+"/v1beta1":
		var err error
		if value, err = definition(value); err != nil {
			return nil, err
		}
	default:
		return nil, otherKind(k, t.APIVersion, t.Kind)
	}
	o := k.New()
	if err := kjson.UnmarshalCaseSensitivePreserveInts(value, o); err != nil {
		return nil, err
	}
	return o.Marshal()
}

// definition turns a CustomResourceDefinition of v1beta1, as upstream stores
// them, into one of v1: what v1beta1 says once for all versions, v1 says in each.
func definition(value []byte) ([]byte, error) {
	var crd map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(value, &crd); err != nil {
		return nil, err
	}
	spec, _ := crd["spec"].(map[string]any)
	versions, _ := spec["versions"].([]any)
	if name, ok := spec["version"].(string); ok && len(versions) == 0 {
		versions = []any{map[string]any{"name": name, "served": true, "storage": true}}
		spec["versions"] = versions
	}
	for _, v := range versions {
		version, _ := v.(map[string]any)
		if version == nil {
			continue
		}
		for in, as := range map[string]string{"validation": "schema", "subresources": "subresources", "additionalPrinterColumns": "additionalPrinterColumns"} {
			if all, ok := spec[in]; ok && version[as] == nil {
				version[as] = all
			}
		}
		columns, _ := version["additionalPrinterColumns"].([]any)
		for _, c := range columns {
			if column, ok := c.(map[string]any); ok && column["JSONPath"] != nil {
				column["jsonPath"] = column["JSONPath"]
			}
		}
	}
	if conversion, _ := spec["conversion"].(map[string]any); conversion["webhookClientConfig"] != nil || conversion["conversionReviewVersions"] != nil {
		conversion["webhook"] = map[string]any{
			"clientConfig": conversion["webhookClientConfig"], "conversionReviewVersions": conversion["conversionReviewVersions"],
		}
	}
	return json.Marshal(crd)
}
