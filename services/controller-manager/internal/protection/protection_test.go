package protection

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func claim(name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: workbench.Meta(name)}
}

func mounting(name, node, claim string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: workbench.Meta(name), Spec: corev1.PodSpec{NodeName: node, Volumes: []corev1.Volume{{Name: "v"}}}}
	p.Spec.Volumes[0].PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}
	return p
}

func there[T kinds.Object](b *workbench.Bench, namespace, name string) bool {
	_, ok := workbench.Find[T](b, namespace, name)
	return ok
}

func TestClaimStaysWhilePodsUseIt(t *testing.T) {
	b := workbench.New(t, claim("used"), claim("free"), claim("planned"),
		mounting("user", "node", "used"), mounting("pending", "", "planned"))
	b.Add(Claims(b.Deps()))
	b.Settle()
	for _, name := range []string{"used", "free", "planned"} {
		if f := workbench.Get[*corev1.PersistentVolumeClaim](b, "default", name).Finalizers; len(f) != 1 || f[0] != "kubernetes.io/pvc-protection" {
			t.Fatalf("%s has finalizers %q", name, f)
		}
		workbench.Delete[*corev1.PersistentVolumeClaim](b, "default", name)
	}
	b.Settle()
	for name, want := range map[string]bool{"used": true, "free": false, "planned": false} {
		if got := there[*corev1.PersistentVolumeClaim](b, "default", name); got != want {
			t.Errorf("%s is there: %v", name, got)
		}
	}
	workbench.Change(b, "default", "user", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	b.Settle()
	if !there[*corev1.PersistentVolumeClaim](b, "default", "used") {
		t.Fatal("gone while a pod that has ended has it")
	}
	workbench.Delete[*corev1.Pod](b, "default", "user")
	b.Settle()
	if there[*corev1.PersistentVolumeClaim](b, "default", "used") {
		t.Fatal("still there")
	}
}

func TestEphemeralClaim(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: workbench.Meta("p"), Spec: corev1.PodSpec{NodeName: "n", Volumes: []corev1.Volume{{Name: "v"}}}}
	p.UID = "1"
	p.Spec.Volumes[0].Ephemeral = &corev1.EphemeralVolumeSource{}
	mine, other := claim("p-v"), claim("p-v")
	mine.OwnerReferences = []metav1.OwnerReference{{UID: "1", Kind: "Pod", Name: "p", Controller: ptr.To(true)}}
	for _, c := range []struct {
		name  string
		claim *corev1.PersistentVolumeClaim
		shut  bool
		want  bool
	}{{"mine", mine, false, true}, {"another's", other, false, false}, {"done", mine, true, false}} {
		q := p.DeepCopy()
		if c.shut {
			q.DeletionTimestamp, q.DeletionGracePeriodSeconds = &metav1.Time{}, ptr.To[int64](0)
		}
		if got := mounts(q, c.claim); got != c.want {
			t.Errorf("%s: used %v", c.name, got)
		}
	}
}

func TestVolumeStaysWhileBound(t *testing.T) {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound}}
	b := workbench.New(t, v)
	b.Add(Volumes(b.Deps()))
	b.Settle()
	workbench.Delete[*corev1.PersistentVolume](b, "", "v")
	b.Settle()
	if !there[*corev1.PersistentVolume](b, "", "v") {
		t.Fatal("gone while bound")
	}
	workbench.Change(b, "", "v", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeReleased })
	b.Settle()
	if there[*corev1.PersistentVolume](b, "", "v") {
		t.Fatal("still there")
	}
}

func TestClassStaysWhileNamed(t *testing.T) {
	c := claim("c")
	c.Status.ModifyVolumeStatus = &corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: "gold"}
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: corev1.PersistentVolumeSpec{VolumeAttributesClassName: ptr.To("gold")}}
	b := workbench.New(t, c, v, &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "gold"}})
	b.Add(AttributesClasses(b.Deps()))
	b.Settle()
	workbench.Delete[*storagev1.VolumeAttributesClass](b, "", "gold")
	workbench.Delete[*corev1.PersistentVolume](b, "", "v")
	b.Settle()
	if !there[*storagev1.VolumeAttributesClass](b, "", "gold") {
		t.Fatal("gone while a claim is to get it")
	}
	workbench.Change(b, "default", "c", func(c *corev1.PersistentVolumeClaim) { c.Status.ModifyVolumeStatus = nil })
	b.Settle()
	if there[*storagev1.VolumeAttributesClass](b, "", "gold") {
		t.Fatal("still there")
	}
}

// A pod that only the API server knows of keeps a claim, too.
func TestClaimOfUnseenPod(t *testing.T) {
	b := workbench.New(t, claim("c"))
	b.Add(Claims(b.Deps()))
	b.Settle()
	b.API.Hold(kinds.For[*corev1.Pod](), true)
	b.API.Seed(mounting("late", "node", "c"))
	workbench.Delete[*corev1.PersistentVolumeClaim](b, "default", "c")
	b.Settle()
	if !there[*corev1.PersistentVolumeClaim](b, "default", "c") {
		t.Fatal("gone while a pod has it")
	}
}
