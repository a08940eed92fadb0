package volume_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	"coracle.local/services/kubelet/internal/token"
	"coracle.local/services/kubelet/internal/volume"
)

type objects map[string]map[string]string

func (o objects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if data, ok := o["cm/"+name]; ok {
		return &corev1.ConfigMap{Data: data}, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("configmap"), name)
}

func (o objects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	data, ok := o["s/"+name]
	if !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("secret"), name)
	}
	s := &corev1.Secret{Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s, nil
}

type tokens struct{ clock *testclock.FakeClock }

func (t tokens) For(_ context.Context, pod *corev1.Pod, audience string, _ int64) (token.Token, error) {
	return token.Token{Value: string(pod.UID) + "/" + audience, Renew: t.clock.Now().Add(time.Hour)}, nil
}

func setup(t *testing.T) (*volume.Manager, objects, *testclock.FakeClock) {
	c, o := testclock.NewFakeClock(time.Unix(1000, 0)), objects{}
	return &volume.Manager{
		Log: zap.NewNop(), Root: poddir.Root(t.TempDir()), Objects: o, Tokens: tokens{c}, Clock: c,
		Node: func() downward.Node { return downward.Node{} },
	}, o, c
}

func pod(volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{{Name: "app"}}},
	}
}

func source(name string, s corev1.VolumeSource) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: s}
}

func configMap(name string, items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}}
}

func content(t *testing.T, m *volume.Manager, p *corev1.Pod, name string) map[string]string {
	t.Helper()
	dir, _, err := m.Path(p, name)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			sub, err := os.ReadDir(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range sub {
				b, err := os.ReadFile(filepath.Join(path, s.Name()))
				if err != nil {
					t.Fatal(err)
				}
				out[e.Name()+"/"+s.Name()] = string(b)
			}
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

func mustMount(t *testing.T, m *volume.Manager, p *corev1.Pod) time.Time {
	t.Helper()
	due, err := m.Mount(t.Context(), p, []string{"10.0.0.7"})
	if err != nil {
		t.Fatal(err)
	}
	return due
}

func TestConfigMapIsUpdatedAtOnce(t *testing.T) {
	m, o, c := setup(t)
	o["cm/cfg"] = map[string]string{"a": "1", "b": "2"}
	p := pod(source("v", configMap("cfg")))
	mustMount(t, m, p)
	if got := content(t, m, p, "v"); len(got) != 2 || got["a"] != "1" || got["b"] != "2" {
		t.Fatalf("got %v", got)
	}
	dir, readOnly, err := m.Path(p, "v")
	if err != nil || !readOnly {
		t.Fatal(err, readOnly)
	}
	before, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	mustMount(t, m, p)
	if after, _ := os.Readlink(filepath.Join(dir, "..data")); after != before {
		t.Error("the same content was written again")
	}
	o["cm/cfg"] = map[string]string{"a": "3", "c": "4"}
	c.Step(time.Second)
	mustMount(t, m, p)
	if got := content(t, m, p, "v"); len(got) != 2 || got["a"] != "3" || got["c"] != "4" {
		t.Errorf("after the update: %v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, before)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old content is still there: %v", err)
	}
}

func TestItemsModesAndOptional(t *testing.T) {
	m, o, _ := setup(t)
	yes, strict := true, int32(0o400)
	o["s/sec"] = map[string]string{"key": "geheim"}
	secret := corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "sec", Items: []corev1.KeyToPath{{Key: "key", Path: "dir/k", Mode: &strict}}}}
	missing := configMap("none")
	missing.ConfigMap.Optional = &yes
	p := pod(source("s", secret), source("o", missing))
	mustMount(t, m, p)
	if got := content(t, m, p, "s"); got["dir/k"] != "geheim" {
		t.Errorf("got %v", got)
	}
	dir, _, _ := m.Path(p, "s")
	if info, err := os.Stat(filepath.Join(dir, "dir/k")); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := content(t, m, p, "o"); len(got) != 0 {
		t.Errorf("optional: %v", got)
	}
}

func TestMissingObject(t *testing.T) {
	m, _, _ := setup(t)
	_, err := m.Mount(t.Context(), pod(source("v", configMap("none"))), nil)
	if want := `MountVolume.SetUp failed for volume "v" : configmap "none" not found`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = m.Mount(t.Context(), pod(source("v", corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}})), nil)
	if want := `MountVolume.SetUp failed for volume "v" : no volume plugin matched`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestProjected(t *testing.T) {
	m, o, c := setup(t)
	o["cm/ca"] = map[string]string{"ca.crt": "PEM"}
	p := pod(source("api", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "aud"}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "ca"}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}},
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
		}}},
	}}}))
	if due := mustMount(t, m, p); !due.Equal(c.Now().Add(time.Hour)) {
		t.Errorf("due at %v", due)
	}
	got := content(t, m, p, "api")
	for name, want := range map[string]string{"token": "u/aud", "ca.crt": "PEM", "namespace": "ns", "labels": `app="web"`} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
}

func TestEmptyDirKeepsItsContent(t *testing.T) {
	m, _, _ := setup(t)
	p := pod(source("e", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	mustMount(t, m, p)
	dir, _, _ := m.Path(p, "e")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o777 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustMount(t, m, p)
	if got := content(t, m, p, "e"); got["f"] != "x" {
		t.Errorf("got %v", got)
	}
	if err := m.Unmount(p.UID); err != nil {
		t.Fatal(err)
	}
	if uids, err := m.Root.Pods(); err != nil || len(uids) != 0 {
		t.Errorf("left: %v, %v", uids, err)
	}
	if err := m.Unmount(p.UID); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestFSGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing groups needs root")
	}
	m, o, _ := setup(t)
	group := int64(2000)
	o["cm/cfg"] = map[string]string{"a": "1"}
	p := pod(source("v", configMap("cfg")), source("e", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
	mustMount(t, m, p)
	for name, want := range map[string]os.FileMode{"v/a": 0o644 | 0o440, "e": 0o777 | os.ModeSetgid | os.ModeDir} {
		vol, file, _ := strings.Cut(name, "/")
		dir, _, _ := m.Path(p, vol)
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil || info.Mode() != want || info.Sys().(*syscall.Stat_t).Gid != uint32(group) {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	dir, _, _ := m.Path(p, "v")
	before, _ := os.Readlink(filepath.Join(dir, "..data"))
	mustMount(t, m, p)
	if after, _ := os.Readlink(filepath.Join(dir, "..data")); after != before {
		t.Error("the same content was written again")
	}
}

func TestHostPathTypes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		kind corev1.HostPathType
		want string
	}{
		{dir, corev1.HostPathDirectory, ""},
		{file, corev1.HostPathDirectory, "is not a directory"},
		{file, corev1.HostPathFile, ""},
		{dir, corev1.HostPathFile, "is not a file"},
		{dir + "/new", corev1.HostPathDirectory, "is not a directory"},
		{dir + "/new/dir", corev1.HostPathDirectoryOrCreate, ""},
		{dir + "/newfile", corev1.HostPathFileOrCreate, ""},
		{dir + "/any", corev1.HostPathUnset, ""},
		{file, corev1.HostPathSocket, "is not a socket file"},
		{"/dev/null", corev1.HostPathCharDev, ""},
		{file, "Strange", "is an invalid volume type"},
	} {
		t.Run(string(test.kind)+" "+filepath.Base(test.path), func(t *testing.T) {
			m, _, _ := setup(t)
			_, err := m.Mount(t.Context(), pod(source("h", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: test.path, Type: &test.kind}})), nil)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestSubPaths(t *testing.T) {
	m, o, _ := setup(t)
	o["cm/cfg"] = map[string]string{"app.conf": "x"}
	p := pod(source("e", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}), source("c", configMap("cfg")))
	mustMount(t, m, p)
	empty, _, _ := m.Path(p, "e")
	if err := os.Symlink("/etc", filepath.Join(empty, "out")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("in", filepath.Join(empty, "link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		mount corev1.VolumeMount
		want  string // suffix of the path, or the error
	}{
		{"whole", corev1.VolumeMount{Name: "e"}, "/e"},
		{"made", corev1.VolumeMount{Name: "e", SubPath: "in/deep"}, "/e/in/deep"},
		{"through a link", corev1.VolumeMount{Name: "e", SubPath: "link/deep"}, "/e/in/deep"},
		{"expanded", corev1.VolumeMount{Name: "e", SubPathExpr: "$(NAME)/logs"}, "/e/web/logs"},
		{"nothing to expand", corev1.VolumeMount{Name: "e", SubPathExpr: "$(NONE)"}, "missing value for NONE"},
		{"a file", corev1.VolumeMount{Name: "c", SubPath: "app.conf"}, "/app.conf"},
		{"out by a link", corev1.VolumeMount{Name: "e", SubPath: "out/passwd"}, "failed to prepare subPath"},
		{"out by dots", corev1.VolumeMount{Name: "e", SubPath: "../x"}, "must not contain '..'"},
		{"absolute", corev1.VolumeMount{Name: "e", SubPath: "/etc"}, "must not be an absolute path"},
		{"no volume", corev1.VolumeMount{Name: "n"}, `cannot find volume "n" to mount into container "app"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.mount.MountPath = "data"
			got, err := m.Mounts(p, &corev1.Container{Name: "app", VolumeMounts: []corev1.VolumeMount{test.mount}}, []engine.KeyValue{{Key: "NAME", Value: "web"}})
			switch {
			case err != nil && !strings.Contains(err.Error(), test.want):
				t.Errorf("got %v, want %s", err, test.want)
			case err == nil && (!strings.HasSuffix(got[0].HostPath, test.want) || got[0].ContainerPath != "/data" || got[0].ReadOnly != (test.mount.Name == "c")):
				t.Errorf("got %+v, want %s", got[0], test.want)
			}
		})
	}
}
