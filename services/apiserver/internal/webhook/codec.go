package webhook

import (
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	restclient "k8s.io/client-go/rest"
)

// codec reads and writes reviews.
var codec = sync.OnceValue(func() runtime.NegotiatedSerializer {
	s := runtime.NewScheme()
	versions := []schema.GroupVersion{
		admissionv1.SchemeGroupVersion, admissionv1beta1.SchemeGroupVersion,
		apiextensionsv1.SchemeGroupVersion, apiextensionsv1beta1.SchemeGroupVersion,
	}
	s.AddKnownTypes(versions[0], &admissionv1.AdmissionReview{})
	s.AddKnownTypes(versions[1], &admissionv1beta1.AdmissionReview{})
	s.AddKnownTypes(versions[2], &apiextensionsv1.ConversionReview{})
	s.AddKnownTypes(versions[3], &apiextensionsv1beta1.ConversionReview{})
	s.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{})
	return serializer.NegotiatedSerializerWrapper(runtime.SerializerInfo{
		Serializer: serializer.NewCodecFactory(s).LegacyCodec(versions...),
	})
})

// userAgent is the program's, as its clients of other servers call themselves.
var userAgent = sync.OnceValue(restclient.DefaultKubernetesUserAgent)
