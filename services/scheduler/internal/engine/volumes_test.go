package engine_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/scheduler/internal/harness"
)

func claim(name, class string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "claim-uid", ResourceVersion: "1"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: harness.List("storage", "1Gi")},
		},
	}
}

func class(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func localVolume(name, class, node string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class, Capacity: harness.List("storage", "2Gi"),
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
	}
}

func TestPodsWithClaims(t *testing.T) {
	unhelpful := " preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
	tests := []struct {
		name    string
		setup   func(h *harness.Harness)
		node    string
		message string
	}{
		{"no such claim", func(*harness.Harness) {}, "", `0/2 nodes are available: persistentvolumeclaim "data" not found.` + unhelpful},
		{"immediate and unbound", func(h *harness.Harness) {
			h.SetClass(class("fast", "example.com/p", storagev1.VolumeBindingImmediate))
			h.SetClaim(claim("data", "fast"))
		}, "", "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims." + unhelpful},
		{"local volume on the second node", func(h *harness.Harness) {
			h.SetClass(class("local", "kubernetes.io/no-provisioner", storagev1.VolumeBindingWaitForFirstConsumer))
			h.SetVolume(localVolume("v", "local", "n2"))
			h.SetClaim(claim("data", "local"))
		}, "n2", ""},
		{"no volume and no provisioner", func(h *harness.Harness) {
			h.SetClass(class("local", "kubernetes.io/no-provisioner", storagev1.VolumeBindingWaitForFirstConsumer))
			h.SetClaim(claim("data", "local"))
		}, "", "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind." + unhelpful},
		{"provisioned in the one zone allowed", func(h *harness.Harness) {
			c := class("cloud", "example.com/p", storagev1.VolumeBindingWaitForFirstConsumer)
			c.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{
				{Key: corev1.LabelHostname, Values: []string{"n2"}},
			}}}
			h.SetClass(c)
			h.SetClaim(claim("data", "cloud"))
		}, "n2", ""},
		{"bound to a volume that is gone", func(h *harness.Harness) {
			c := claim("data", "fast")
			c.Spec.VolumeName = "lost"
			c.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
			h.SetClaim(c)
		}, "", `0/2 nodes are available: persistentvolume "lost" not found.` + unhelpful},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := harness.New(t)
			h.AddNode(harness.NewNode("n1"), harness.NewNode("n2"))
			tt.setup(h)
			h.Create(harness.NewPod("p", harness.Claim("data")))
			h.Settle()
			expectNode(t, h, "default/p", tt.node)
			if tt.message != "" {
				expectEvents(t, h, "Warning FailedScheduling default/p: "+tt.message)
			}
		})
	}
}

func TestClaimIsMadeLater(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1"))
	h.Create(harness.NewPod("p", harness.Claim("data")))
	h.Settle()
	h.SetClass(class("cloud", "example.com/p", storagev1.VolumeBindingWaitForFirstConsumer))
	h.SetClaim(claim("data", "cloud"))
	h.Settle()
	expectNode(t, h, "default/p", "n1")
}

func TestProvisionerGivesUp(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1"))
	h.SetClass(class("cloud", "example.com/p", storagev1.VolumeBindingWaitForFirstConsumer))
	h.SetClaim(claim("data", "cloud"))
	h.Hold = true
	h.Create(harness.NewPod("p", harness.Claim("data")))
	h.Settle()
	h.Clock.Step(1)
	rejected := claim("data", "cloud")
	rejected.ResourceVersion = "3"
	h.SetClaim(rejected)
	h.Settle()
	got := h.Events()
	if len(got) != 1 || !strings.Contains(got[0], `running PreBind plugin "VolumeBinding": provisioning failed for PVC "data"`) {
		t.Errorf("events are %q", got)
	}
}
