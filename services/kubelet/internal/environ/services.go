package environ

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// services are the variables about Services: those of the pod's namespace
// where the pod wants them, and the kubernetes Service for every pod.
func (m *Maker) services(ctx context.Context, pod *corev1.Pod) (map[string]string, error) {
	out := map[string]string{}
	if m.Services == nil {
		return out, nil
	}
	list, err := m.Services(ctx, pod.Namespace)
	if err != nil {
		return nil, err
	}
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	// The namespace's own Service named kubernetes hides the default one, so
	// the master's go first.
	for _, own := range []bool{false, true} {
		for _, s := range list {
			master := s.Namespace == metav1.NamespaceDefault && s.Name == "kubernetes"
			if !hasIP(s) || own == master || !master && (s.Namespace != pod.Namespace || !links) {
				continue
			}
			serviceVars(s, out)
		}
	}
	return out, nil
}

func hasIP(s *corev1.Service) bool {
	return s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone && len(s.Spec.Ports) > 0
}

// serviceVars are the two families of variables about one Service:
// NAME_SERVICE_* and, as Docker's links had them, NAME_PORT_*.
func serviceVars(s *corev1.Service, out map[string]string) {
	prefix, ip := varName(s.Name), s.Spec.ClusterIP
	out[prefix+"_SERVICE_HOST"] = ip
	out[prefix+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i, p := range s.Spec.Ports {
		number := strconv.Itoa(int(p.Port))
		if p.Name != "" {
			out[prefix+"_SERVICE_PORT_"+varName(p.Name)] = number
		}
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		lower := strings.ToLower(string(protocol))
		url := fmt.Sprintf("%s://%s", lower, net.JoinHostPort(ip, number))
		if i == 0 {
			out[prefix+"_PORT"] = url
		}
		port := fmt.Sprintf("%s_PORT_%s_%s", prefix, number, strings.ToUpper(string(protocol)))
		out[port] = url
		out[port+"_PROTO"] = lower
		out[port+"_PORT"] = number
		out[port+"_ADDR"] = ip
	}
}

func varName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
