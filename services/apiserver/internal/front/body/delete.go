package body

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/negotiate"
)

// DeleteOptions decodes the body of a deletion. Clients send it in the group
// version of the object, which may be one of also, of meta.k8s.io, or without.
func DeleteOptions(data []byte, e negotiate.Encoding, also ...schema.GroupVersion) (*metav1.DeleteOptions, error) {
	o := &metav1.DeleteOptions{}
	d := decoding{want: Expected{Kind: metav1.SchemeGroupVersion.WithKind("DeleteOptions")}, into: o}
	d.want.Also = append(kinds.GroupVersions(), also...)
	var err error
	if e == negotiate.Protobuf {
		err = d.protobuf(data)
	} else {
		err = d.text(data, e)
	}
	if err == nil {
		return o, nil
	}
	if d.have.Kind != "" && d.have.Kind != d.want.Kind.Kind {
		err = notRegistered(d.have)
	}
	return nil, apierrors.NewBadRequest(err.Error())
}

func notRegistered(have schema.GroupVersionKind) error {
	if _, err := kinds.Scheme().New(have); err != nil {
		return err
	}
	return runtime.NewNotRegisteredErrForKind(kinds.Scheme().Name(), have)
}
