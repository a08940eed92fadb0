package differential

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/kinds"
)

// decode makes of an answer what JSON would be: the objects of a stream become
// a list, and what is no object stays text.
func decode(header http.Header, raw []byte) (any, error) {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return string(raw), nil
	}
	switch kind {
	case "application/json":
		return decodeJSON(raw), nil
	case "application/yaml":
		var value any
		if err := yaml.Unmarshal(raw, &value); err != nil {
			return nil, err
		}
		return value, nil
	case "application/vnd.kubernetes.protobuf":
		return decodeProtobuf(raw)
	case "application/cbor":
		into := &unstructured.Unstructured{}
		if _, _, err := cbor.NewSerializer(kinds.Scheme(), kinds.Scheme()).Decode(raw, nil, into); err != nil {
			return fmt.Sprintf("cbor: %v", err), nil
		}
		return asJSON(into)
	}
	return string(raw), nil
}

// meta has what is no kind: partial objects and the like.
var meta = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(metav1.AddMetaToScheme(s))
	return s
})

func decodeProtobuf(raw []byte) (any, error) {
	o, _, err := protobuf.NewSerializer(kinds.Scheme(), kinds.Scheme()).Decode(raw, nil, nil)
	if runtime.IsNotRegisteredError(err) {
		o, _, err = protobuf.NewSerializer(meta(), meta()).Decode(raw, nil, nil)
	}
	if err != nil {
		return fmt.Sprintf("protobuf: %v", err), nil
	}
	return asJSON(o)
}

func decodeJSON(raw []byte) any {
	d := json.NewDecoder(bytes.NewReader(raw))
	var all []any
	for {
		var value any
		err := d.Decode(&value)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return string(raw)
		}
		all = append(all, value)
	}
	if len(all) == 1 && at(all[0], "object") == nil {
		return all[0]
	}
	return all
}

func asJSON(o runtime.Object) (any, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var value any
	return value, json.Unmarshal(b, &value)
}
