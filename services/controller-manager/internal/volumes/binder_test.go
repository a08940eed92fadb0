package volumes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	helpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func volume(name, size string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeSource: corev1.PersistentVolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: "/var/data"},
		},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
	}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}}
	for _, f := range change {
		f(v)
	}
	return v
}

func claim(size string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: workbench.Meta("c"), Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr.To(""),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}
	c.UID = "claim-uid"
	for _, f := range change {
		f(c)
	}
	return c
}

func class(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func binderBench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	return b.Add(Binder(b.Deps(), 15*time.Second)...)
}

func of(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = &name }
}

func boundTo(uid types.UID, annotated bool) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: "default", Name: "c", UID: uid}
		if annotated {
			v.Annotations = map[string]string{helpers.AnnBoundByController: "yes"}
		}
	}
}

func message(b *workbench.Bench) string {
	out := ""
	for _, e := range b.API.Events() {
		out = e.Reason + ": " + e.Message
	}
	return out
}

func TestBinds(t *testing.T) {
	many := func(v *corev1.PersistentVolume) {
		v.Spec.AccessModes = append(v.Spec.AccessModes, corev1.ReadWriteMany)
	}
	named := func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "v" }
	labelled := func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"disk": "fast"} }
	for name, c := range map[string]struct {
		objects []kinds.Object
		volume  string // that the claim gets
		event   string
	}{
		"the smallest that does": {[]kinds.Object{volume("big", "10Gi"), volume("v", "2Gi"), volume("small", "1Mi"), claim("1Gi")}, "v", ""},
		"the fewest modes first": {[]kinds.Object{volume("a", "1Gi", many), volume("v", "5Gi"), claim("1Gi")}, "v", ""},
		"none is big enough":     {[]kinds.Object{volume("v", "1Mi"), claim("1Gi")}, "", "FailedBinding: no persistent volumes available for this claim and no storage class is set"},
		"another mode":           {[]kinds.Object{volume("v", "1Gi"), claim("1Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) })}, "", "FailedBinding: no persistent volumes available for this claim and no storage class is set"},
		"a selector": {[]kinds.Object{volume("a", "1Gi"), volume("v", "2Gi", labelled), claim("1Gi", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"disk": "fast"}}
		})}, "v", ""},
		"one meant for it":         {[]kinds.Object{volume("a", "1Gi"), volume("v", "5Gi", boundTo("", false)), claim("1Gi")}, "v", ""},
		"the class":                {[]kinds.Object{volume("a", "1Gi"), volume("v", "2Gi", func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "slow" }), claim("1Gi", of("slow"))}, "v", ""},
		"the one it names":         {[]kinds.Object{volume("a", "1Gi"), volume("v", "2Gi"), claim("1Gi", named)}, "v", ""},
		"the one it names, small":  {[]kinds.Object{volume("v", "1Mi"), claim("1Gi", named)}, "", `VolumeMismatch: Cannot bind to requested volume "v": requested PV is too small`},
		"the one it names, taken":  {[]kinds.Object{volume("v", "1Gi", boundTo("x", false), func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.Name = "d" }), claim("1Gi", named)}, "", `FailedBinding: volume "v" already bound to a different claim.`},
		"no class of the name":     {[]kinds.Object{claim("1Gi", of("x"))}, "", `ProvisioningFailed: storageclass.storage.k8s.io "x" not found`},
		"somebody else makes it":   {[]kinds.Object{class("x", "example.com/disk", storagev1.VolumeBindingImmediate), claim("1Gi", of("x"))}, "", "ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'example.com/disk' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."},
		"nobody makes it":          {[]kinds.Object{class("x", "kubernetes.io/no-provisioner", storagev1.VolumeBindingImmediate), claim("1Gi", of("x"))}, "", "ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner"},
		"the scheduler chooses":    {[]kinds.Object{class("x", "kubernetes.io/no-provisioner", storagev1.VolumeBindingWaitForFirstConsumer), volume("v", "1Gi", func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "x" }), claim("1Gi", of("x"))}, "", "WaitForFirstConsumer: waiting for first consumer to be created before binding"},
		"the scheduler has chosen": {[]kinds.Object{class("x", "kubernetes.io/no-provisioner", storagev1.VolumeBindingWaitForFirstConsumer), volume("v", "1Gi", boundTo("claim-uid", true), func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "x" }), claim("1Gi", of("x"))}, "v", ""},
	} {
		b := binderBench(t, c.objects...)
		b.Advance(2 * time.Second)
		got := workbench.Get[*corev1.PersistentVolumeClaim](b, "default", "c")
		if got.Spec.VolumeName != c.volume && !slices.ContainsFunc(c.objects, func(o kinds.Object) bool {
			x, ok := o.(*corev1.PersistentVolumeClaim)
			return ok && x.Spec.VolumeName != ""
		}) {
			t.Errorf("%s: got %q", name, got.Spec.VolumeName)
		}
		if e := message(b); e != c.event {
			t.Errorf("%s: event %q", name, e)
		}
		if c.volume == "" {
			if got.Status.Phase != corev1.ClaimPending {
				t.Errorf("%s: claim is %s", name, got.Status.Phase)
			}
			continue
		}
		v := workbench.Get[*corev1.PersistentVolume](b, "", c.volume)
		if v.Status.Phase != corev1.VolumeBound || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != "claim-uid" {
			t.Errorf("%s: volume %+v %+v", name, v.Spec.ClaimRef, v.Status)
		}
		if got.Status.Phase != corev1.ClaimBound || len(got.Status.AccessModes) == 0 || len(got.Status.Capacity) != 1 || got.Annotations[helpers.AnnBindCompleted] != "yes" {
			t.Errorf("%s: claim %+v %+v", name, got.Annotations, got.Status)
		}
		b.API.Calls()
		b.Advance(time.Hour)
		if calls := b.API.Calls(); len(calls) > 0 {
			t.Errorf("%s: at rest: %v", name, calls)
		}
	}
}

func TestWaitsForPods(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: workbench.Meta("p"), Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}},
	}}}
	b := binderBench(t, p, class("x", "example.com/disk", storagev1.VolumeBindingWaitForFirstConsumer), claim("1Gi", of("x")))
	b.Settle()
	if e := message(b); e != "WaitForPodScheduled: waiting for pod p to be scheduled" {
		t.Fatalf("event %q", e)
	}
	workbench.Change(b, "default", "c", func(c *corev1.PersistentVolumeClaim) { c.Annotations = map[string]string{helpers.AnnSelectedNode: "n"} })
	b.Settle()
	if c := workbench.Get[*corev1.PersistentVolumeClaim](b, "default", "c"); c.Annotations[helpers.AnnStorageProvisioner] != "example.com/disk" {
		t.Fatalf("annotations %v", c.Annotations)
	}
}

func TestTwoClaimsForOneVolume(t *testing.T) {
	other := claim("1Gi")
	other.Name, other.UID = "d", "other-uid"
	b := binderBench(t, volume("v", "1Gi"), claim("1Gi"), other)
	b.Advance(time.Minute)
	bound := 0
	for _, c := range workbench.All[*corev1.PersistentVolumeClaim](b, "default") {
		if c.Status.Phase == corev1.ClaimBound {
			bound++
		}
	}
	if bound != 1 {
		t.Fatalf("%d claims are bound", bound)
	}
	b.API.Seed(volume("w", "1Gi"))
	b.Settle()
	for _, c := range workbench.All[*corev1.PersistentVolumeClaim](b, "default") {
		if c.Status.Phase != corev1.ClaimBound {
			t.Fatalf("%s is %s", c.Name, c.Status.Phase)
		}
	}
}

func TestTakesTheDefaultClass(t *testing.T) {
	old, young := class("old", "x.io/a", storagev1.VolumeBindingImmediate), class("young", "x.io/b", storagev1.VolumeBindingImmediate)
	for i, c := range []*storagev1.StorageClass{old, young} {
		c.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
		c.CreationTimestamp = metav1.NewTime(workbench.Epoch.Add(time.Duration(i) * time.Hour))
	}
	b := binderBench(t, old, young, claim("1Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }))
	b.Settle()
	if c := workbench.Get[*corev1.PersistentVolumeClaim](b, "default", "c"); ptr.Deref(c.Spec.StorageClassName, "") != "young" {
		t.Fatalf("class %v", c.Spec.StorageClassName)
	}
}

func TestClaimsThatLoseTheirVolume(t *testing.T) {
	b := binderBench(t, volume("v", "1Gi"), claim("1Gi"))
	b.Settle()
	workbench.Delete[*corev1.PersistentVolume](b, "", "v")
	b.Settle()
	if c := workbench.Get[*corev1.PersistentVolumeClaim](b, "default", "c"); c.Status.Phase != corev1.ClaimLost {
		t.Fatalf("claim is %s", c.Status.Phase)
	}
	if e := message(b); e != "ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!" {
		t.Fatalf("event %q", e)
	}
}

func TestReclaims(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "coracle-volume-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	policy := func(p corev1.PersistentVolumeReclaimPolicy, path string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = p
			v.Spec.HostPath.Path = path
		}
	}
	for name, c := range map[string]struct {
		volume *corev1.PersistentVolume
		phase  corev1.PersistentVolumePhase // empty is gone
		says   string
	}{
		"retain":           {volume("v", "1Gi"), corev1.VolumeReleased, ""},
		"delete":           {volume("v", "1Gi", policy(corev1.PersistentVolumeReclaimDelete, dir)), "", ""},
		"delete elsewhere": {volume("v", "1Gi", policy(corev1.PersistentVolumeReclaimDelete, "/tmp/../var/data")), corev1.VolumeFailed, "host_path deleter only supports /tmp/.+ but received provided /tmp/../var/data"},
		"a driver's": {volume("v", "1Gi", policy(corev1.PersistentVolumeReclaimDelete, dir), func(v *corev1.PersistentVolume) {
			v.Annotations = map[string]string{helpers.AnnDynamicallyProvisioned: "x.io"}
		}), corev1.VolumeReleased, ""},
		"recycle":           {volume("v", "1Gi", policy(corev1.PersistentVolumeReclaimRecycle, dir)), corev1.VolumeFailed, "No recycler plugin found for the volume!"},
		"what nobody knows": {volume("v", "1Gi", policy("x", dir)), corev1.VolumeFailed, "Volume has unrecognized PersistentVolumeReclaimPolicy"},
	} {
		b := binderBench(t, c.volume, claim("1Gi"))
		b.Settle()
		workbench.Delete[*corev1.PersistentVolumeClaim](b, "default", "c")
		b.Advance(time.Minute)
		v, ok := workbench.Find[*corev1.PersistentVolume](b, "", "v")
		switch {
		case ok != (c.phase != ""):
			t.Errorf("%s: there: %v", name, ok)
		case ok && (v.Status.Phase != c.phase || v.Status.Message != c.says):
			t.Errorf("%s: %s %q", name, v.Status.Phase, v.Status.Message)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder: %v", err)
	}
}

func TestVolumesOfClaimsThatTookAnother(t *testing.T) {
	b := binderBench(t, volume("v", "1Gi"), volume("w", "1Gi", boundTo("claim-uid", true)), claim("1Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "v" }))
	b.Settle()
	if w := workbench.Get[*corev1.PersistentVolume](b, "", "w"); w.Spec.ClaimRef != nil || w.Status.Phase != corev1.VolumeAvailable || strings.Contains(w.Annotations[helpers.AnnBoundByController], "yes") {
		t.Fatalf("volume %+v %+v", w.Spec.ClaimRef, w.Status)
	}
}
