package lab

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// images are those built by this run, to be removed at its end.
var images struct {
	sync.Mutex
	folder string
	hash   string
	names  []string
}

func TestMain(m *testing.M) {
	status := m.Run()
	for _, name := range images.names {
		_ = exec.Command("docker", "rmi", name).Run()
	}
	if images.folder != "" {
		_ = os.RemoveAll(images.folder)
	}
	os.Exit(status)
}

// buildFolder is a folder from which docker build makes the image of server/. The
// executable is static and compiled once a run.
func (l *lab) buildFolder() string {
	l.t.Helper()
	images.Lock()
	defer images.Unlock()
	if images.folder != "" {
		return images.folder
	}
	folder, err := os.MkdirTemp("", "coracle-lab-")
	if err != nil {
		l.t.Fatal(err)
	}
	images.folder = folder
	binary := filepath.Join(folder, "server")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		l.t.Fatalf("compile the server: %v\n%s", err, out)
	}
	if err := os.CopyFS(folder, os.DirFS("server")); err != nil {
		l.t.Fatal(err)
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		l.t.Fatal(err)
	}
	images.hash = fmt.Sprintf("%x", sha256.Sum256(data))[:12]
	return folder
}

// image is the server's image in the lab's registry. Of two versions only the
// version in the answers differs.
func (l *lab) image(version string) string {
	l.t.Helper()
	folder := l.buildFolder()
	name := fmt.Sprintf("%s/lab/server:%s-%s", l.registry(), version, images.hash)
	images.Lock()
	defer images.Unlock()
	if !strings.Contains(strings.Join(images.names, " "), name) {
		l.push(name, folder, version)
		images.names = append(images.names, name)
	}
	return name
}

func (l *lab) push(name, folder, version string) {
	l.t.Helper()
	l.docker("build", "-q", "-t", name, "--build-arg", "VERSION="+version, folder)
	l.docker("push", name)
}

// forget removes an image from this machine and from the nodes.
func (l *lab) forget(name string) {
	_, _ = l.try("docker", "rmi", name)
	for _, node := range l.nodes {
		_, _ = l.try("docker", "exec", l.container(node), "docker", "rmi", name)
	}
}
