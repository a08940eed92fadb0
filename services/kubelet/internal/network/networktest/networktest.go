// Package networktest gives tests real CNI plugins and a network namespace to
// use them in, so that the machine's own network stays as it is.
package networktest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// plugins are built once a process: linking them takes seconds.
var plugins = sync.OnceValues(buildPlugins)

// Plugins returns a folder with the CNI plugins that the repository pins,
// built now; CORACLE_CNI_BIN_DIR names one with them built before.
func Plugins(t testing.TB) string {
	t.Helper()
	dir, err := plugins()
	if err != nil {
		t.Skipf("no CNI plugins: %v", err)
	}
	return dir
}

func buildPlugins() (string, error) {
	if dir := os.Getenv("CORACLE_CNI_BIN_DIR"); dir != "" {
		return dir, nil
	}
	_, here, _, _ := runtime.Caller(0)
	module := filepath.Join(filepath.Dir(here), "../../../../../images/cni")
	// Kept over runs, so that go build has nothing to do.
	dir := filepath.Join(os.TempDir(), "coracle-cni-plugins")
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "tool")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return dir, nil
}

// Namespace is a network namespace of a test.
type Namespace struct{ file *os.File }

// NewNamespace makes one, with a loopback interface that is up and an uplink
// of the given address whose other end leads nowhere. It goes with the test.
func NewNamespace(t testing.TB, uplink string) *Namespace {
	t.Helper()
	made := make(chan error, 1)
	ns := &Namespace{}
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		made <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			file, err := os.Open("/proc/thread-self/ns/net")
			ns.file = file
			return err
		}()
	}()
	if err := <-made; err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	t.Cleanup(func() { _ = ns.file.Close() })
	if err := ns.Do(func() error { return setUp(uplink) }); err != nil {
		t.Fatalf("set up network namespace: %v", err)
	}
	return ns
}

func setUp(uplink string) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	if uplink == "" {
		return nil
	}
	addr, err := netlink.ParseAddr(uplink)
	if err != nil {
		return err
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uplink", MTU: 1400}, PeerName: "nowhere"}
	if err := netlink.LinkAdd(pair); err != nil {
		return err
	}
	for _, name := range []string{"uplink", "nowhere"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		if name == "uplink" {
			if err := netlink.AddrAdd(link, addr); err != nil {
				return err
			}
		}
	}
	gateway := make(net.IP, len(addr.IP))
	copy(gateway, addr.IP)
	gateway[len(gateway)-1] = 254
	return netlink.RouteAdd(&netlink.Route{Gw: gateway})
}

// MoveUplink moves the uplink's other end from the present namespace to
// another.
func MoveUplink(to *Namespace) error {
	link, err := netlink.LinkByName("nowhere")
	if err != nil {
		return err
	}
	return netlink.LinkSetNsFd(link, int(to.file.Fd()))
}

// Addresses gives links of the present namespace an address each and brings
// them up; then it adds a route.
func Addresses(byLink map[string]string, dst, via string) error {
	for name, address := range byLink {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	_, subnet, err := net.ParseCIDR(dst)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{Dst: subnet, Gw: net.ParseIP(via)})
}

// Path is where the namespace can be opened while the test runs.
func (ns *Namespace) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.file.Fd())
}

// Do runs f on a thread that is in the namespace. Processes that f starts are
// in it, too.
func (ns *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good, as above
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}
