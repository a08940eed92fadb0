package dropin

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestInstallPutsEveryExecutable(t *testing.T) {
	tools := t.TempDir()
	if err := os.WriteFile(filepath.Join(tools, Kubectl), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", tools)
	dir := filepath.Join(t.TempDir(), "new", "folder")
	for range 2 { // the second time everything is there
		if err := Install(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubectl"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode()&0o111 == 0 {
			t.Errorf("%s cannot be executed", name)
		}
	}
}

func TestInstallWithoutKubectlSaysSoAndPutsTheRest(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := t.TempDir()
	if err := Install(dir); !errors.Is(err, ErrNoKubectl) {
		t.Fatalf("got %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(roles) {
		t.Errorf("%d executables, want %d", len(entries), len(roles))
	}
}

func TestPlaceReplacesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	source, target := filepath.Join(dir, "new"), filepath.Join(dir, "name")
	for path, text := range map[string]string{source: "new", target: "old"} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := place(source, target); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestEtcdTicks(t *testing.T) {
	for name, test := range map[string]struct {
		args  []string
		short bool
	}{
		"alone":            {[]string{"--data-dir=/d", "--listen-client-urls", "http://127.0.0.1:1"}, true},
		"own ticks":        {[]string{"--heartbeat-interval=200"}, false},
		"own ticks, apart": {[]string{"-election-timeout", "2000"}, false},
		"a cluster":        {[]string{"--initial-cluster=a=http://a,b=http://b"}, false},
		"a file":           {[]string{"--config-file=etcd.yaml"}, false},
		"gateway":          {[]string{"gateway", "start"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := slices.Contains(withTicks(test.args), ticks[0]); got != test.short {
				t.Errorf("short ticks: %t", got)
			}
		})
	}
}

func TestNamed(t *testing.T) {
	if name, _, ok := Named("/some/dir/kube-apiserver"); !ok || name != "kube-apiserver" {
		t.Errorf("%s, %t", name, ok)
	}
	if _, _, ok := Named("/usr/bin/coracle"); ok {
		t.Error("coracle itself is taken for a drop-in")
	}
}
