package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// token lets a kubelet have tokens for the pods that are bound to it, for the
// audiences that they mount.
func (p *nodeRestriction) token(ctx context.Context, node string, a *Attributes) error {
	if a.Operation != Create || a.Subresource != "token" {
		return nil
	}
	request, err := typed[*authenticationv1.TokenRequest](a, a.Object)
	if err != nil {
		return err
	}
	ref := request.Spec.BoundObjectRef
	switch {
	case ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "":
		return forbidden(a, errors.New("node requested token not bound to a pod"))
	case ref.UID == "":
		return forbidden(a, errors.New("node requested token with a pod binding without a uid"))
	}
	pod, err := cached[*corev1.Pod](p.lookup, a.Namespace, ref.Name)
	if err != nil {
		return err
	}
	switch {
	case ref.UID != pod.UID:
		return forbidden(a, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	case pod.Spec.NodeName != node:
		return forbidden(a, errors.New("node requested token bound to a pod scheduled on a different node"))
	}
	if err := p.audience(ctx, request, pod, a); err != nil {
		return forbidden(a, err)
	}
	return nil
}

func (p *nodeRestriction) audience(ctx context.Context, request *authenticationv1.TokenRequest, pod *corev1.Pod, a *Attributes) error {
	audience := ""
	switch len(request.Spec.Audiences) {
	case 0:
	case 1:
		audience = request.Spec.Audiences[0]
	default:
		return errors.New("node may only request 0 or 1 audiences")
	}
	mounted, err := p.mounts(pod, audience)
	if err != nil {
		return fmt.Errorf("error validating audience %q: %w", audience, err)
	}
	if mounted {
		return nil
	}
	allowed, err := p.authorized(ctx, a, "request-serviceaccounts-token-audience", audience, a.Name)
	switch {
	case allowed:
		return nil
	case err != nil:
		return fmt.Errorf("error authorizing %s to request tokens for audience %q: %w", a.User.GetName(), audience, err)
	}
	return fmt.Errorf("%s is not authorized to request tokens for audience %q", a.User.GetName(), audience)
}

// mounts tells whether a volume of the pod needs a token for the audience:
// a projected one by itself, a CSI volume by its driver.
func (p *nodeRestriction) mounts(pod *corev1.Pod, audience string) (bool, error) {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected != nil {
			for j := range v.Projected.Sources {
				if s := v.Projected.Sources[j].ServiceAccountToken; s != nil && s.Audience == audience {
					return true, nil
				}
			}
		}
		driver, err := p.driver(pod, v)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if driver == "" {
			continue
		}
		object, err := cached[*storagev1.CSIDriver](p.lookup, "", driver)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, request := range object.Spec.TokenRequests {
			if request.Audience == audience {
				return true, nil
			}
		}
	}
	return false, utilerrors.NewAggregate(errs)
}

// driver names the CSI driver of a volume, empty if it has none.
func (p *nodeRestriction) driver(pod *corev1.Pod, v *corev1.Volume) (string, error) {
	claim := ""
	switch {
	case v.CSI != nil:
		return v.CSI.Driver, nil
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		claim = pod.Name + "-" + v.Name
	case v.PersistentVolumeClaim != nil:
		claim = v.PersistentVolumeClaim.ClaimName
	default:
		return "", nil
	}
	pvc, err := cached[*corev1.PersistentVolumeClaim](p.lookup, pod.Namespace, claim)
	if err != nil {
		return "", err
	}
	pv, err := cached[*corev1.PersistentVolume](p.lookup, "", pvc.Spec.VolumeName)
	if err != nil || pv.Spec.CSI == nil {
		return "", err
	}
	return pv.Spec.CSI.Driver, nil
}

func (p *nodeRestriction) authorized(ctx context.Context, a *Attributes, verb, resource, name string) (bool, error) {
	decision, _, err := p.authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: a.User, Verb: verb, APIGroup: a.Kind.Group, APIVersion: a.Kind.Version,
		Resource: resource, Namespace: a.Namespace, Name: name, ResourceRequest: true,
	})
	return decision == authorizer.DecisionAllow, err
}

// podCertificate lets a kubelet ask for certificates of its own pods, by the
// signers that they mount.
func (p *nodeRestriction) podCertificate(ctx context.Context, node string, a *Attributes) error {
	switch {
	case a.Operation != Create:
		return forbidden(a, fmt.Errorf("unexpected operation %v", a.Operation))
	case a.Subresource != "":
		return forbidden(a, fmt.Errorf("unexpected subresource %v", a.Subresource))
	}
	request, err := typed[*certificatesv1.PodCertificateRequest](a, a.Object)
	if err != nil {
		return err
	}
	spec := &request.Spec
	if string(spec.NodeName) != node {
		return forbidden(a, fmt.Errorf("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", spec.NodeName, node))
	}
	podName := a.Namespace + "/" + spec.PodName
	object, err := cached[*corev1.Node](p.lookup, "", node)
	if err != nil {
		return fmt.Errorf("while retrieving node %q named in the PodCertificateRequest: %w", node, err)
	}
	// A UID that differs may be news that has not arrived; it is no refusal,
	// so that the kubelet tries again.
	if object.UID != spec.NodeUID {
		return fmt.Errorf("PodCertificateRequest for pod %q names node UID %q, inconsistent with the running node (%q)", podName, spec.NodeUID, object.UID)
	}
	pod, err := cached[*corev1.Pod](p.lookup, a.Namespace, spec.PodName)
	if err != nil {
		return fmt.Errorf("while retrieving pod %q named in the PodCertificateRequest: %w", podName, err)
	}
	if err := p.checkCertificatePod(a, spec, pod, podName); err != nil {
		return err
	}
	return p.checkSigner(ctx, a, spec, pod, podName)
}

func (p *nodeRestriction) checkCertificatePod(a *Attributes, spec *certificatesv1.PodCertificateRequestSpec, pod *corev1.Pod, podName string) error {
	switch {
	case spec.PodUID != pod.UID:
		return fmt.Errorf("PodCertificateRequest for pod %q contains pod UID (%q) which differs from running pod %q", podName, spec.PodUID, pod.UID)
	case pod.Spec.NodeName != string(spec.NodeName):
		return forbidden(a, fmt.Errorf("pod %q is not running on node %q named in the PodCertificateRequest", podName, spec.NodeName))
	case mirror(pod):
		return forbidden(a, fmt.Errorf("pod %q is a mirror pod", podName))
	case spec.ServiceAccountName != pod.Spec.ServiceAccountName:
		return forbidden(a, fmt.Errorf("PodCertificateRequest for pod %q contains serviceAccountName (%q) that differs from running pod (%q)", podName, spec.ServiceAccountName, pod.Spec.ServiceAccountName))
	}
	account, err := cached[*corev1.ServiceAccount](p.lookup, a.Namespace, spec.ServiceAccountName)
	if err != nil {
		return fmt.Errorf("while retrieving service account %q named in the PodCertificateRequest: %w", a.Namespace+"/"+spec.ServiceAccountName, err)
	}
	if spec.ServiceAccountUID != account.UID {
		return fmt.Errorf("PodCertificateRequest for pod %q names service account UID %q, which differs from the running service account (%q)", podName, spec.ServiceAccountUID, account.UID)
	}
	return nil
}

func (p *nodeRestriction) checkSigner(ctx context.Context, a *Attributes, spec *certificatesv1.PodCertificateRequestSpec, pod *corev1.Pod, podName string) error {
	for i := range pod.Spec.Volumes {
		if v := pod.Spec.Volumes[i].Projected; v != nil {
			for j := range v.Sources {
				if c := v.Sources[j].PodCertificate; c != nil && c.SignerName == spec.SignerName {
					return nil
				}
			}
		}
	}
	// A resource's name cannot have a slash in RBAC.
	signer := strings.ReplaceAll(spec.SignerName, "/", ":")
	allowed, err := p.authorized(ctx, a, "request-serviceaccounts-podcertificate-signer", signer, spec.ServiceAccountName)
	switch {
	case allowed:
		return nil
	case err != nil:
		return forbidden(a, fmt.Errorf("error authorizing %s to request podcertificaterequests for signer %q: %w", a.User.GetName(), spec.SignerName, err))
	}
	return forbidden(a, fmt.Errorf("pod %q does not mount a podCertificate projected volume for signer %q", podName, spec.SignerName))
}

// restrictSigningRequest keeps a kubelet from asking for another node's
// certificate.
func restrictSigningRequest(node string, a *Attributes) error {
	if a.Operation != Create {
		return nil
	}
	request, err := typed[*certificatesv1.CertificateSigningRequest](a, a.Object)
	if err != nil {
		return err
	}
	switch request.Spec.SignerName {
	case certificatesv1.KubeletServingSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName:
	default:
		return nil
	}
	parsed, err := parseSigningRequest(request.Spec.Request)
	if err != nil {
		return forbidden(a, fmt.Errorf("unable to parse csr: %w", err))
	}
	if parsed.Subject.CommonName != "system:node:"+node {
		return forbidden(a, fmt.Errorf("can only create a node CSR with CN=system:node:%s", node))
	}
	return nil
}

func parseSigningRequest(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}
