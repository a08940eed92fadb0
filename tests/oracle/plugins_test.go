package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"coracle.local/cmd/coracle/cluster"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
)

const admissionConfiguration = `
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodNodeSelector
  configuration: {podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: "zone=a", listed: "zone=a,disk=ssd"}}
- name: PodTolerationRestriction
  configuration:
    apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1
    kind: Configuration
    default: [{key: team, operator: Exists}]
    whitelist: [{key: team, operator: Exists}, {operator: Exists, effect: NoExecute}, {key: node.kubernetes.io/memory-pressure, operator: Exists}, {key: example.com/gpu, operator: Exists}]
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, warn: restricted}
    exemptions: {namespaces: [exempt]}
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - {resource: secrets, matchContains: [count/secrets]}
    - {resource: pods, matchScopes: [{scopeName: PriorityClass, operator: In, values: [system-node-critical]}]}
`

const optionalPlugins = "PodNodeSelector,PodTolerationRestriction,ExtendedResourceToleration,LimitPodHardAntiAffinityTopology,NamespaceAutoProvision,NamespaceExists,OwnerReferencesPermissionEnforcement"

// TestOptionalPluginsAnswerAlike configures both servers with the same file and
// asks them the same.
func TestOptionalPluginsAnswerAlike(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admission.yaml")
	if err := os.WriteFile(path, []byte(admissionConfiguration), 0o600); err != nil {
		t.Fatal(err)
	}
	c := fixture.Start(t, cluster.Config{Controllers: []string{"serviceaccount-controller"}, APIServer: func(cfg *apiserver.Config) {
		cfg.EnableAdmission = strings.Split(optionalPlugins, ",")
		var err error
		if cfg.AdmissionConfiguration, err = apiserver.ReadAdmissionConfiguration(path); err != nil {
			t.Fatal(err)
		}
	}})
	for name, annotations := range map[string]map[string]string{
		"plain": nil, "listed": nil, "exempt": nil, "own": {
			"scheduler.alpha.kubernetes.io/node-selector": "zone=b", "scheduler.alpha.kubernetes.io/defaultTolerations": `[{"key":"x","operator":"Exists"}]`,
			"scheduler.alpha.kubernetes.io/tolerationsWhitelist": `[{"operator":"Exists"}]`,
		}, "strict": {"scheduler.alpha.kubernetes.io/tolerationsWhitelist": `[{"key":"y"}]`}, "broken": {"scheduler.alpha.kubernetes.io/defaultTolerations": "x"},
	} {
		if _, err := c.Clients.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	theirs := startUpstream(t, c, "--enable-admission-plugins="+optionalPlugins, "--admission-control-config-file="+path)
	different := 0
	requests := pluginRequests()
	for name, do := range requests {
		ours, yours := warned(t, c.Config, do), warned(t, theirs, do)
		if ours != yours {
			different++
			t.Errorf("%s\nours   %s\ntheirs %s", name, ours, yours)
		}
	}
	t.Logf("%d requests, %d differences", len(requests), different)
}

// warned is an answer and the warnings that came with it.
func warned(t *testing.T, cfg *rest.Config, do func(kubernetes.Interface) (any, error)) string {
	t.Helper()
	var warnings strings.Builder
	cfg = rest.CopyConfig(cfg)
	cfg.WarningHandler = rest.NewWarningWriter(&warnings, rest.WarningWriterOptions{})
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	o, err := do(c)
	if err != nil {
		return err.Error() + warnings.String()
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + warnings.String()
}

func pluginRequests() map[string]func(kubernetes.Interface) (any, error) {
	out := map[string]func(kubernetes.Interface) (any, error){}
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	pods := map[string]func(*corev1.Pod){
		"plain": func(*corev1.Pod) {}, "of zone a": func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"zone": "a"} },
		"of zone b": func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"zone": "b"} },
		"of a disk": func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd", "x": "y"} },
		"tolerant":  func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} },
		"burstable": asking(amounts{"cpu": "1"}, nil),
		"gpu":       asking(amounts{"example.com/gpu": "1"}, amounts{"example.com/gpu": "1"}),
		"host":      func(p *corev1.Pod) { p.Spec.HostNetwork = true },
		"alone": func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{}}}}}
		},
		"critical": func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-node-critical" },
	}
	for _, ns := range []string{"plain", "listed", "own", "strict", "broken", "exempt"} {
		for name, change := range pods {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{AutomountServiceAccountToken: ptr.To(false), Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
			change(p)
			out[fmt.Sprintf("pod %s in %s", name, ns)] = func(c kubernetes.Interface) (any, error) {
				made, err := c.CoreV1().Pods(ns).Create(context.Background(), p.DeepCopy(), dry)
				if err != nil {
					return nil, err
				}
				return made.Spec, nil
			}
		}
		out["secret in "+ns] = func(c kubernetes.Interface) (any, error) {
			_, err := c.CoreV1().Secrets(ns).Create(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, dry)
			return nil, err
		}
	}
	out["label of an exempt namespace"] = func(c kubernetes.Interface) (any, error) {
		ns, err := c.CoreV1().Namespaces().Get(context.Background(), "exempt", metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		ns.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
		_, err = c.CoreV1().Namespaces().Update(context.Background(), ns, metav1.UpdateOptions{DryRun: dry.DryRun})
		return nil, err
	}
	out["delete in a namespace that is not there"] = func(c kubernetes.Interface) (any, error) {
		return nil, c.CoreV1().ConfigMaps("absent").Delete(context.Background(), "x", metav1.DeleteOptions{})
	}
	out["create in a namespace that is not there"] = func(c kubernetes.Interface) (any, error) {
		_, err := c.CoreV1().ConfigMaps("absent").Create(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}}, dry)
		return nil, err
	}
	out["blocking owner"] = func(c kubernetes.Interface) (any, error) {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Strange", Name: "x", UID: "x", BlockOwnerDeletion: ptr.To(true)}}}}
		_, err := c.CoreV1().ConfigMaps("plain").Create(context.Background(), m, dry)
		return nil, err
	}
	return out
}
