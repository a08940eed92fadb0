package webhooks

import (
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/services/apiserver/internal/admission/request"
)

// answer is what a webhook said, in whatever version.
type answer struct {
	annotations map[string]string
	allowed     bool
	patch       []byte
	patchType   admissionv1.PatchType
	result      *metav1.Status
	warnings    []string
}

// review is a question to a webhook, and the form that its answer has.
type review struct {
	uid      types.UID
	question runtime.Object
	answer   runtime.Object
}

// newReview makes the question in the first form that the webhook reads.
func newReview(v *request.View, forms []string) (*review, error) {
	uid := uuid.NewUUID()
	for _, form := range forms {
		switch form {
		case "v1":
			return &review{uid, &admissionv1.AdmissionReview{Request: question(uid, v)}, &admissionv1.AdmissionReview{}}, nil
		case "v1beta1":
			q := question(uid, v)
			return &review{uid, &admissionv1beta1.AdmissionReview{Request: &admissionv1beta1.AdmissionRequest{
				UID: q.UID, Kind: q.Kind, Resource: q.Resource, SubResource: q.SubResource,
				RequestKind: q.RequestKind, RequestResource: q.RequestResource, RequestSubResource: q.RequestSubResource,
				Name: q.Name, Namespace: q.Namespace, Operation: admissionv1beta1.Operation(q.Operation), UserInfo: q.UserInfo,
				Object: q.Object, OldObject: q.OldObject, DryRun: q.DryRun, Options: q.Options,
			}}, &admissionv1beta1.AdmissionReview{}}, nil
		}
	}
	return nil, errors.New("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
}

func question(uid types.UID, v *request.View) *admissionv1.AdmissionRequest {
	kind, resource := metav1.GroupVersionKind(v.GetKind()), metav1.GroupVersionResource(v.GetResource())
	dry := v.IsDryRun()
	return &admissionv1.AdmissionRequest{
		UID:  uid,
		Kind: metav1.GroupVersionKind(v.Kind), Resource: metav1.GroupVersionResource(v.Resource), SubResource: v.GetSubresource(),
		RequestKind: &kind, RequestResource: &resource, RequestSubResource: v.GetSubresource(),
		Name: v.GetName(), Namespace: v.GetNamespace(), Operation: admissionv1.Operation(v.GetOperation()),
		UserInfo: userInfo(v.GetUserInfo()),
		Object:   runtime.RawExtension{Object: v.Object()}, OldObject: runtime.RawExtension{Object: v.OldObject()},
		DryRun: &dry, Options: runtime.RawExtension{Object: v.GetOperationOptions()},
	}
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	out := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: map[string]authenticationv1.ExtraValue{}}
	for key, values := range u.GetExtra() {
		out.Extra[key] = authenticationv1.ExtraValue(values)
	}
	return out
}

// read checks an answer. The older form was never held to anything.
func (r *review) read(mutating bool) (*answer, error) {
	absent := errors.New("webhook response was absent")
	switch got := r.answer.(type) {
	case *admissionv1beta1.AdmissionReview:
		if got.Response == nil {
			return nil, absent
		}
		a := &answer{got.Response.AuditAnnotations, got.Response.Allowed, nil, "", got.Response.Result, got.Response.Warnings}
		if mutating && len(got.Response.Patch) > 0 {
			a.patch, a.patchType = got.Response.Patch, admissionv1.PatchTypeJSONPatch
		}
		return a, nil
	case *admissionv1.AdmissionReview:
		if got.Response == nil {
			return nil, absent
		}
		if got.Response.UID != r.uid {
			return nil, fmt.Errorf("expected response.uid=%q, got %q", r.uid, got.Response.UID)
		}
		if want := admissionv1.SchemeGroupVersion.WithKind("AdmissionReview"); got.GroupVersionKind() != want {
			return nil, fmt.Errorf("expected webhook response of %v, got %v", want.String(), got.GroupVersionKind().String())
		}
		a := &answer{got.Response.AuditAnnotations, got.Response.Allowed, nil, "", got.Response.Result, got.Response.Warnings}
		return a, a.patched(got.Response, mutating)
	}
	return nil, fmt.Errorf("unexpected response type %T", r.answer)
}

// patched takes the patch of an answer, which has both of its parts or none.
func (a *answer) patched(r *admissionv1.AdmissionResponse, mutating bool) error {
	switch {
	case !mutating && len(r.Patch) > 0:
		return errors.New("validating webhook may not return response.patch")
	case !mutating && r.PatchType != nil:
		return errors.New("validating webhook may not return response.patchType")
	case len(r.Patch) > 0 && r.PatchType == nil:
		return errors.New("webhook returned response.patch but not response.patchType")
	case len(r.Patch) == 0 && r.PatchType != nil:
		return errors.New("webhook returned response.patchType but not response.patch")
	case r.PatchType != nil && *r.PatchType == "":
		return fmt.Errorf("webhook returned invalid response.patchType of %q", *r.PatchType)
	case r.PatchType != nil:
		a.patch, a.patchType = r.Patch, *r.PatchType
	}
	return nil
}
