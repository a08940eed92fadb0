package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PodTemplateWarnings tells what is doubtful in a template, though not wrong.
func PodTemplateWarnings(p *field.Path, template *corev1.PodTemplateSpec) []string {
	return podSpecWarnings(p, &template.Spec, &template.ObjectMeta)
}

// warner gathers warnings about one pod; path is nil for a pod itself.
type warner struct {
	path     *field.Path
	spec     *corev1.PodSpec
	meta     *metav1.ObjectMeta
	warnings []string
}

func podSpecWarnings(p *field.Path, spec *corev1.PodSpec, meta *metav1.ObjectMeta) []string {
	w := &warner{path: p, spec: spec, meta: meta}
	w.nodeLabels()
	w.spread()
	w.annotations()
	w.volumes()
	w.overlappingPaths()
	w.duplicates()
	w.fractions(w.at("overhead"), spec.Overhead)
	w.profiles()
	for ctr, at := range containers(spec, w.at()) {
		w.container(ctr, at)
	}
	w.ports()
	if seconds := spec.TerminationGracePeriodSeconds; seconds != nil && *seconds < 0 {
		w.add(w.at("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.affinity()
	w.addresses()
	return w.warnings
}

func (w *warner) at(children ...string) *field.Path {
	return w.path.Child("spec", children...)
}

func (w *warner) add(p *field.Path, format string, args ...any) {
	w.warnings = append(w.warnings, p.String()+": "+fmt.Sprintf(format, args...))
}

// deprecatedLabels are labels of nodes that have gone out of use.
var deprecatedLabels = map[string]string{
	"beta.kubernetes.io/arch":                       `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                         `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region":      `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":        `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":              `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
	"app.kubernetes.io/created-by":                  `deprecated since v1.9`,
	"scheduler.alpha.kubernetes.io/preferAvoidPods": `deprecated since v1.22; use Taints and Tolerations instead`,
	"node-role.kubernetes.io/master":                `use "node-role.kubernetes.io/control-plane" instead`,
}

// DeprecatedLabel says what became of a node label, or "".
func DeprecatedLabel(key string) string { return deprecatedLabels[key] }

// NodeSelectorTermWarnings tells of labels out of use and, if asked to, of
// values that no label can have.
func NodeSelectorTermWarnings(p *field.Path, term *corev1.NodeSelectorTerm, values bool) []string {
	w := &warner{}
	for i, r := range term.MatchExpressions {
		at := p.Child("matchExpressions").Index(i)
		if message := deprecatedLabels[r.Key]; message != "" {
			w.add(at.Child("key"), "%s is %s", r.Key, message)
		}
		if !values {
			continue
		}
		for j, value := range r.Values {
			for _, message := range validation.IsValidLabelValue(value) {
				w.add(at.Child("values").Index(j), "%s is invalid, %s", value, message)
			}
		}
	}
	return w.warnings
}

func (w *warner) nodeLabels() {
	for _, key := range sortedKeys(w.spec.NodeSelector) {
		if message := deprecatedLabels[key]; message != "" {
			w.add(w.at("nodeSelector").Key(key), "%s", message)
		}
	}
	a := nodeAffinity(w.spec)
	if a == nil {
		return
	}
	if must := a.RequiredDuringSchedulingIgnoredDuringExecution; must != nil {
		for i := range must.NodeSelectorTerms {
			at := w.at("affinity", "nodeAffinity", required, "nodeSelectorTerms").Index(i)
			w.warnings = append(w.warnings, NodeSelectorTermWarnings(at, &must.NodeSelectorTerms[i], false)...)
		}
	}
	for i := range a.PreferredDuringSchedulingIgnoredDuringExecution {
		at := w.at("affinity", "nodeAffinity", preferred).Index(i).Child("preference")
		w.warnings = append(w.warnings, NodeSelectorTermWarnings(at, &a.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, true)...)
	}
}

const nullSelector = "a null labelSelector results in matching no pod"

func (w *warner) spread() {
	for i, c := range w.spec.TopologySpreadConstraints {
		at := w.at("topologySpreadConstraints").Index(i)
		if message := deprecatedLabels[c.TopologyKey]; message != "" {
			w.add(at.Child("topologyKey"), "%s is %s", c.TopologyKey, message)
		}
		if c.LabelSelector == nil {
			w.add(at.Child("labelSelector"), nullSelector)
		}
	}
}

func (w *warner) annotations() {
	for _, a := range [][2]string{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, set := w.meta.Annotations[a[0]]; set {
			w.add(w.annotation(a[0]), "%s", a[1])
		}
	}
}

func (w *warner) annotation(key string) *field.Path {
	return w.path.Child("metadata", "annotations").Key(key)
}

func (w *warner) volumes() {
	for i := range w.spec.Volumes {
		v, at := &w.spec.Volumes[i], w.at("volumes").Index(i)
		for _, d := range []struct {
			set             bool
			child, obsolete string
		}{
			{v.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
			{v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"},
			{v.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
			{v.Flocker != nil, "flocker", "deprecated in v1.22, non-functional in v1.25+"},
			{v.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
			{v.Quobyte != nil, "quobyte", "deprecated in v1.22, non-functional in v1.25+"},
			{v.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
			{v.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
			{v.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
		} {
			if d.set {
				w.add(at.Child(d.child), "%s", d.obsolete)
			}
		}
		if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			w.warnings = append(w.warnings, ClaimSpecWarnings(at.Child("ephemeral", "volumeClaimTemplate", "spec"), &v.Ephemeral.VolumeClaimTemplate.Spec)...)
		}
	}
}

func (w *warner) duplicates() {
	seen := sets.Set[string]{}
	for i, alias := range w.spec.HostAliases {
		if seen.Has(alias.IP) {
			w.add(w.at("hostAliases").Index(i).Child("ip"), "duplicate ip %q", alias.IP)
		}
		seen.Insert(alias.IP)
	}
	seen = sets.Set[string]{}
	for i, secret := range w.spec.ImagePullSecrets {
		if seen.Has(secret.Name) {
			w.add(w.at("imagePullSecrets").Index(i).Child("name"), "duplicate name %q", secret.Name)
		}
		seen.Insert(secret.Name)
	}
	for i, secret := range w.spec.ImagePullSecrets {
		if secret.Name == "" {
			w.add(w.at("imagePullSecrets").Index(i).Child("name"), `invalid empty name ""`)
		}
	}
}

func (w *warner) fractions(p *field.Path, list corev1.ResourceList) {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if quantity, set := list[name]; set && quantity.MilliValue()%1000 != 0 {
			w.add(p.Key(string(name)), "fractional byte value %q is invalid, must be an integer", quantity.String())
		}
	}
}

func (w *warner) profiles() {
	if sc := w.spec.SecurityContext; sc != nil && sc.SeccompProfile != nil {
		return
	}
	if _, set := w.meta.Annotations[seccompPod]; set {
		w.add(w.annotation(seccompPod), `non-functional in v1.27+; use the "seccompProfile" field instead`)
	}
}

func (w *warner) container(ctr *corev1.Container, p *field.Path) {
	sc := ctr.SecurityContext
	if key := seccompContainerPrefix + ctr.Name; sc == nil || sc.SeccompProfile == nil {
		if _, set := w.meta.Annotations[key]; set {
			w.add(w.annotation(key), `non-functional in v1.27+; use the "seccompProfile" field instead`)
		}
	}
	// Of a pod this was told before the annotation became the field.
	if key := appArmorPrefix + ctr.Name; w.path != nil && (sc == nil || sc.AppArmorProfile == nil) {
		var ofPod *corev1.AppArmorProfile
		if w.spec.SecurityContext != nil {
			ofPod = w.spec.SecurityContext.AppArmorProfile
		}
		if value, set := w.meta.Annotations[key]; set && (ofPod == nil || !equality.Semantic.DeepEqual(ofPod, appArmorOf(value))) {
			w.add(w.annotation(key), appArmorOutdated)
		}
	}
	w.fractionsOf(p.Child("resources"), &ctr.Resources)
	seen := sets.Set[string]{}
	for i, env := range ctr.Env {
		reference := "$(" + env.Name + ")"
		extends := env.ValueFrom == nil && env.Value != reference && strings.Contains(env.Value, reference)
		if seen.Has(env.Name) && !extends {
			w.add(p.Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", env.Name)
		}
		seen.Insert(env.Name)
	}
}

// fractionsOf goes by resource first, then by limit and request.
func (w *warner) fractionsOf(p *field.Path, r *corev1.ResourceRequirements) {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		for _, list := range []struct {
			child string
			list  corev1.ResourceList
		}{{"limits", r.Limits}, {"requests", r.Requests}} {
			if quantity, set := list.list[name]; set {
				w.fractions(p.Child(list.child), corev1.ResourceList{name: quantity})
			}
		}
	}
}

func (w *warner) ports() {
	type located struct {
		at   *field.Path
		port corev1.ContainerPort
	}
	all := map[string][]located{}
	for ctr, p := range containers(w.spec, w.at()) {
		for i, port := range ctr.Ports {
			at := p.Child("ports").Index(i)
			if port.HostIP != "" && port.HostPort == 0 {
				w.add(at, "hostIP set without hostPort: %+v", port)
			}
			key := fmt.Sprintf("%d/%s", port.ContainerPort, port.Protocol)
			for _, other := range all[key] {
				o := other.port
				switch {
				case port.HostIP == o.HostIP && port.HostPort == o.HostPort:
					w.add(at, "duplicate port definition with %s", other.at)
				case port.HostPort == 0 || o.HostPort == 0:
					w.add(at, "overlapping port definition with %s", other.at)
				case port.HostPort == o.HostPort && (port.HostIP == "") != (o.HostIP == ""):
					w.add(at, "dangerously ambiguous port definition with %s", other.at)
				}
			}
			all[key] = append(all[key], located{at, port})
		}
	}
	names := map[string]*field.Path{}
	for ctr, p := range containers(w.spec, w.at()) {
		for i, port := range ctr.Ports {
			at := p.Child("ports").Index(i)
			if first := names[port.Name]; first != nil {
				w.add(at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", port.Name, first, first)
			} else if port.Name != "" {
				names[port.Name] = at
			}
		}
	}
}

func (w *warner) affinity() {
	a := w.spec.Affinity
	if a == nil {
		return
	}
	warn := func(kind string, must []corev1.PodAffinityTerm, should []corev1.WeightedPodAffinityTerm) {
		for i := range must {
			if must[i].LabelSelector == nil {
				w.add(w.at("affinity", kind, required).Index(i).Child("labelSelector"), nullSelector)
			}
		}
		for i := range should {
			if should[i].PodAffinityTerm.LabelSelector == nil {
				w.add(w.at("affinity", kind, preferred).Index(i).Child("podAffinityTerm", "labelSelector"), nullSelector)
			}
		}
	}
	if p := a.PodAffinity; p != nil {
		warn("podAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		warn("podAntiAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (w *warner) addresses() {
	if config := w.spec.DNSConfig; config != nil {
		for i, server := range config.Nameservers {
			w.warnings = append(w.warnings, validation.GetWarningsForIP(w.at("dnsConfig", "nameservers").Index(i), server)...)
		}
	}
	for i, alias := range w.spec.HostAliases {
		w.warnings = append(w.warnings, validation.GetWarningsForIP(w.at("hostAliases").Index(i).Child("ip"), alias.IP)...)
	}
}
