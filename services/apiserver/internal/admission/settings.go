package admission

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	podsecurityapi "k8s.io/pod-security-admission/admission/api"
	"k8s.io/pod-security-admission/admission/api/load"
	podsecurityvalidation "k8s.io/pod-security-admission/admission/api/validation"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/quota"
)

// settings are what the plugins that are on were configured with.
type settings struct {
	limited       []quota.Limited
	podSecurity   *podsecurityapi.PodSecurityConfiguration
	tolerations   tolerationSettings
	nodeSelectors nodeSelectorSettings
	eventLimits   []eventLimit
	imagePolicy   imagePolicySettings
}

// tolerationSettings are for namespaces that say nothing themselves.
type tolerationSettings struct {
	Default   []corev1.Toleration `json:"default,omitempty"`
	Whitelist []corev1.Toleration `json:"whitelist,omitempty"`
}

// nodeSelectorSettings are selectors by namespace: for one, the labels that its
// pods may ask for.
type nodeSelectorSettings map[string]string

// clusterDefault is the selector of namespaces without an annotation.
const clusterDefault = "clusterDefaultNodeSelector"

// readSettings reads the configurations of the plugins that are on. A mistake
// in one ends the start, as it would upstream.
func readSettings(c Config) (settings, error) {
	var s settings
	on := func(name string) bool {
		i := slices.IndexFunc(plugins(), func(p plugin) bool { return p.name == name })
		return (plugins()[i].byDefault || slices.Contains(c.Enable, name)) && !slices.Contains(c.Disable, name)
	}
	for name, read := range map[string]func([]byte) error{
		"ResourceQuota":            s.readLimited,
		"PodSecurity":              s.readPodSecurity,
		"PodTolerationRestriction": s.readTolerations,
		"PodNodeSelector":          s.readNodeSelectors,
		"EventRateLimit":           s.readEventLimits,
		"ImagePolicyWebhook":       s.readImagePolicy,
	} {
		if !on(name) {
			continue
		}
		if err := read(c.Configuration[name]); err != nil {
			return s, fmt.Errorf("couldn't init admission plugin %q: %w", name, err)
		}
	}
	return s, nil
}

// decode reads a configuration that names its kind, strictly.
func decode(data []byte, kind string, versions []schema.GroupVersion, into any) error {
	var names struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(data, &names); err != nil {
		return err
	}
	gv, err := schema.ParseGroupVersion(names.APIVersion)
	if err != nil {
		return err
	}
	if names.Kind != kind || !slices.Contains(versions, gv) {
		return fmt.Errorf("no kind %q is registered for version %q", names.Kind, names.APIVersion)
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		return fmt.Errorf("strict decoding error: %w", err)
	}
	return nil
}

func (s *settings) readLimited(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	var f struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Limited    []quota.Limited `json:"limitedResources"`
	}
	var as struct {
		Kind string `json:"kind"`
	}
	if err := yaml.Unmarshal(data, &as); err != nil {
		return err
	}
	// The kind was called otherwise in the versions before v1.
	kind, versions := "ResourceQuotaConfiguration", []schema.GroupVersion{{Group: "apiserver.config.k8s.io", Version: "v1"}}
	if as.Kind == "Configuration" {
		kind, versions = "Configuration", nil
		for _, v := range []string{"v1beta1", "v1alpha1"} {
			versions = append(versions, schema.GroupVersion{Group: "resourcequota.admission.k8s.io", Version: v})
		}
	}
	if err := decode(data, kind, versions, &f); err != nil {
		return err
	}
	s.limited = f.Limited
	return nil
}

func (s *settings) readPodSecurity(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	c, err := load.LoadFromData(data)
	if err != nil {
		return err
	}
	if errs := podsecurityvalidation.ValidatePodSecurityConfiguration(c); len(errs) > 0 {
		return fmt.Errorf("invalid PodSecurityConfiguration: %w", errs.ToAggregate())
	}
	s.podSecurity = c
	return nil
}

func (s *settings) readTolerations(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	var f struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		tolerationSettings
	}
	versions := []schema.GroupVersion{{Group: "podtolerationrestriction.admission.k8s.io", Version: "v1alpha1"}}
	if err := decode(data, "Configuration", versions, &f); err != nil {
		return err
	}
	s.tolerations = f.tolerationSettings
	return nil
}

func (s *settings) readNodeSelectors(data []byte) error {
	var f struct {
		Config nodeSelectorSettings `json:"podNodeSelectorPluginConfig"`
	}
	if err := yaml.Unmarshal(data, &f); err != nil {
		return err
	}
	s.nodeSelectors = f.Config
	return nil
}

// of reads a selector of the settings as labels.
func (n nodeSelectorSettings) of(name string) (labels.Set, error) {
	return labels.ConvertSelectorToLabelsMap(n[name])
}
