package podfiles_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"coracle.local/services/kubelet/internal/downward"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/poddir"
	"coracle.local/services/kubelet/internal/podfiles"
	"coracle.local/services/kubelet/internal/volume"
)

type noObjects struct{}

func (noObjects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
}

func (noObjects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
}

func disk(t *testing.T) *podfiles.Disk {
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("192.168.0.1 node\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &podfiles.Disk{ClusterDomain: "cluster.local", NodeHosts: hosts, Volumes: &volume.Manager{
		Log: zap.NewNop(), Root: poddir.Root(t.TempDir()), Objects: noObjects{}, Clock: testclock.NewFakeClock(time.Unix(1000, 0)),
		Node: func() downward.Node { return downward.Node{} },
	}}
}

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"},
		Spec: corev1.PodSpec{
			Volumes:    []corev1.Volume{{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
			Containers: []corev1.Container{{Name: "app", TerminationMessagePath: "/dev/termination-log"}},
		},
	}
}

func at(mounts []engine.Mount, path string) string {
	for _, m := range mounts {
		if m.ContainerPath == path {
			return m.HostPath
		}
	}
	return ""
}

func TestAContainersFiles(t *testing.T) {
	d, p := disk(t), pod()
	if _, err := d.Mount(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	mounts, err := d.Container(p, &p.Spec.Containers[0], 3, nil, []string{"10.0.0.7"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(at(mounts, "/etc/hosts"))
	if err != nil || !strings.Contains(string(b), "10.0.0.7\tweb\n") {
		t.Errorf("hosts: %s, %v", b, err)
	}
	words := at(mounts, "/dev/termination-log")
	if info, err := os.Stat(words); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("termination log: %v, %v", info, err)
	}
	if err := os.WriteFile(words, []byte(strings.Repeat("x", 5000)+"end"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := d.Message("u", "app", 3); len(got) != 4096 || !strings.HasSuffix(got, "end") {
		t.Errorf("%d bytes of last words", len(got))
	}
	if got := d.Message("u", "app", 4); got != "" {
		t.Errorf("last words of nobody: %s", got)
	}
	if uids, err := d.Pods(); err != nil || len(uids) != 1 {
		t.Errorf("pods %v, %v", uids, err)
	}
	if err := d.Remove("u"); err != nil {
		t.Fatal(err)
	}
	if uids, err := d.Pods(); err != nil || len(uids) != 0 {
		t.Errorf("pods %v, %v", uids, err)
	}
}

func TestHostsOfOthers(t *testing.T) {
	d, p := disk(t), pod()
	if _, err := d.Mount(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	own := p.Spec.Containers[0]
	own.VolumeMounts = []corev1.VolumeMount{{Name: "e", MountPath: "/etc/hosts"}}
	mounts, err := d.Container(p, &own, 0, nil, []string{"10.0.0.7"})
	if err != nil || !strings.HasSuffix(at(mounts, "/etc/hosts"), "/e") {
		t.Errorf("its own: %+v, %v", mounts, err)
	}
	p.Spec.HostNetwork = true
	if mounts, err = d.Container(p, &p.Spec.Containers[0], 0, nil, nil); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(at(mounts, "/etc/hosts")); err != nil || !strings.Contains(string(b), "192.168.0.1 node") {
		t.Errorf("the node's: %s, %v", b, err)
	}
}

func TestFilesDoNotLeaveTheirVolume(t *testing.T) {
	d, p := disk(t), pod()
	if _, err := d.Mount(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	dir, _, err := d.Volumes.Path(p, "e")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "env"), []byte("A='b'"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if b, err := d.File(p, "e", "env"); err != nil || string(b) != "A='b'" {
		t.Errorf("got %s, %v", b, err)
	}
	for _, path := range []string{"out", "../../../etc-hosts", "none"} {
		if b, err := d.File(p, "e", path); err == nil {
			t.Errorf("%s was read: %s", path, b)
		}
	}
}

func TestHollowChecksWhatIsNamed(t *testing.T) {
	h, yes := podfiles.Hollow{Objects: noObjects{}}, true
	source := &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}}
	p := pod()
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: source}})
	if _, err := h.Mount(t.Context(), p, nil); err == nil || err.Error() != `MountVolume.SetUp failed for volume "c" : configmap "cfg" not found` {
		t.Errorf("got %v", err)
	}
	source.Optional = &yes
	if _, err := h.Mount(t.Context(), p, nil); err != nil {
		t.Errorf("optional: %v", err)
	}
}
