package pause_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"coracle.local/services/kubelet/internal/engine/docker/pause"
)

func TestExecutableIsWellFormed(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		t.Run(arch, func(t *testing.T) {
			program, err := pause.Executable(arch)
			if err != nil {
				t.Fatal(err)
			}
			f, err := elf.NewFile(bytes.NewReader(program))
			if err != nil {
				t.Fatal(err)
			}
			if f.Machine != machine || f.Type != elf.ET_EXEC || len(program) > 512 {
				t.Errorf("machine %v, type %v, %d bytes", f.Machine, f.Type, len(program))
			}
			for _, segment := range f.Progs {
				if segment.Flags&elf.PF_W != 0 && segment.Flags&elf.PF_X != 0 {
					t.Errorf("segment %v is writable and executable", segment.Type)
				}
			}
		})
	}
	if _, err := pause.Executable("pdp11"); err == nil || pause.Supported("pdp11") {
		t.Error("an unknown architecture is accepted")
	}
}

// TestRunsAsProcessOne starts it as the first process of a PID namespace,
// where the kernel's rules for signals differ.
func TestRunsAsProcessOne(t *testing.T) {
	if !pause.Supported(runtime.GOARCH) || runtime.GOOS != "linux" {
		t.Skip("no pause program for this platform")
	}
	program, err := pause.Executable(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, pidNamespace := range []bool{false, true} {
			cmd := exec.Command(path)
			if pidNamespace {
				cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
			}
			if err := cmd.Start(); err != nil {
				t.Skipf("cannot start in a PID namespace: %v", err)
			}
			// Until the program has blocked the signal, process 1 ignores it
			// and an ordinary one dies of it: send it once it waits.
			for !waiting(t, cmd.Process.Pid) {
				runtime.Gosched()
			}
			if err := cmd.Process.Signal(syscall.SIGCHLD); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v, PID namespace %v: %v, want exit code 0", signal, pidNamespace, err)
			}
		}
	}
}

// waiting tells whether a process runs the pause program and sleeps, which
// it does in one place only.
func waiting(t *testing.T, pid int) bool {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.HasPrefix(string(status), "Name:\tpause\n") && strings.Contains(string(status), "\nState:\tS")
}
