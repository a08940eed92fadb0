package filter

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
)

// VolumeZone is the filter of volumes that are labelled with their zone.
const VolumeZone = "VolumeZone"

const reasonZone = "node(s) had no available volume zone"

// zoneSeparator stands between the zones of a volume that is in several.
const zoneSeparator = "__"

type volumeZone struct{}

func (volumeZone) Name() string { return VolumeZone }

func (volumeZone) Prepare(p *cluster.Pod, v *cluster.View) Prepared {
	var zones []volumeLabel
	for i := range p.Object.Spec.Volumes {
		source := p.Object.Spec.Volumes[i].PersistentVolumeClaim
		if source == nil {
			continue
		}
		// Claims that are missing or not bound are the business of VolumeBinding.
		claim := v.Volumes.Claim(p.Object.Namespace, source.ClaimName)
		if claim == nil || claim.Spec.VolumeName == "" {
			continue
		}
		volume := v.Volumes.Volume(claim.Spec.VolumeName)
		if volume == nil {
			return Prepared{All: rejectForGood(VolumeZone, fmt.Sprintf("persistentvolume %q not found", claim.Spec.VolumeName))}
		}
		zones = append(zones, zonesOf(volume)...)
	}
	if len(zones) == 0 {
		return Prepared{}
	}
	no := rejectForGood(VolumeZone, reasonZone)
	return Prepared{Node: nodeFunc(func(n *cluster.Node) *Verdict {
		if !zoned(n.Object.Labels) {
			return nil
		}
		for _, z := range zones {
			if !z.admits(n.Object.Labels) {
				return no
			}
		}
		return nil
	})}
}

func (volumeZone) Helps(e cluster.Event, p *cluster.Pod) bool { return volumeBinding{}.Helps(e, p) }

// volumeLabel is a zone or region label of a volume.
type volumeLabel struct {
	key    string
	values []string
}

// zoneLabels maps the labels that say where a volume is to today's names.
func zoneLabels() map[string]string {
	return map[string]string{
		corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
		corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
		corev1.LabelTopologyZone:            corev1.LabelTopologyZone,
		corev1.LabelTopologyRegion:          corev1.LabelTopologyRegion,
	}
}

func zonesOf(v *corev1.PersistentVolume) []volumeLabel {
	var out []volumeLabel
	for key := range zoneLabels() {
		if value, ok := v.Labels[key]; ok {
			out = append(out, volumeLabel{key: key, values: strings.Split(value, zoneSeparator)})
		}
	}
	return out
}

// zoned tells whether a node says where it is. Clusters of one zone need not.
func zoned(labels map[string]string) bool {
	for key := range zoneLabels() {
		if _, ok := labels[key]; ok {
			return true
		}
	}
	return false
}

func (z volumeLabel) admits(labels map[string]string) bool {
	value, ok := labels[z.key]
	if !ok {
		value, ok = labels[zoneLabels()[z.key]]
	}
	return ok && slices.Contains(z.values, value)
}
