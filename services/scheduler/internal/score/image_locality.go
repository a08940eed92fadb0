package score

import (
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
)

// ImageLocality is the scorer of nodes that have the pod's images already.
const ImageLocality = "ImageLocality"

const (
	smallestImages  = 23 << 20
	largestPerImage = 1000 << 20
)

type imageLocality struct{}

func (imageLocality) Name() string  { return ImageLocality }
func (imageLocality) Weight() int64 { return 1 }

func (imageLocality) Prepare(p *cluster.Pod, v *cluster.View) Prepared {
	images := ImagesOf(p.Object)
	if len(images) == 0 {
		return Prepared{}
	}
	return Prepared{Absolute: nodeFunc(func(n *cluster.Node) int64 {
		if len(n.Images) == 0 {
			return 0
		}
		var sum int64
		for _, name := range images {
			if size, ok := n.Images[name]; ok {
				// What many nodes have is no reason to crowd on them.
				sum += int64(float64(size) * float64(v.Holders[name]) / float64(len(v.Nodes)))
			}
		}
		limit := int64(largestPerImage * len(images))
		sum = min(max(sum, smallestImages), limit)
		return Max * (sum - smallestImages) / (limit - smallestImages)
	})}
}

// ImagesOf lists the normalized names of the images that a pod needs, of every
// container and image volume.
func ImagesOf(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.InitContainers {
		names = append(names, cluster.NormalizeImage(pod.Spec.InitContainers[i].Image))
	}
	for i := range pod.Spec.Containers {
		names = append(names, cluster.NormalizeImage(pod.Spec.Containers[i].Image))
	}
	for i := range pod.Spec.Volumes {
		if image := pod.Spec.Volumes[i].Image; image != nil {
			names = append(names, cluster.NormalizeImage(image.Reference))
		}
	}
	return names
}
