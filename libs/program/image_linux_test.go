package program

import (
	"bufio"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestCleanMappings(t *testing.T) {
	const smaps = `00400000-00500000 r-xp 00000000 fe:00 17                           /usr/bin/it
Size:               1024 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00500000-00600000 r--p 00100000 fe:00 17                           /usr/bin/it
Anonymous:             4 kB
00600000-00700000 rw-p 00200000 fe:00 17                           /usr/bin/it
Anonymous:             0 kB
00700000-00800000 r--p 00000000 fe:00 18                           /usr/bin/it.so
Anonymous:             0 kB
7ffd1000-7ffd2000 r-xp 00000000 00:00 0                            [vdso]
Anonymous:             0 kB
`
	got, err := cleanMappings(bufio.NewScanner(strings.NewReader(smaps)), "/usr/bin/it")
	if want := []mapping{{0x400000, 0x500000}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
}

func TestUnmapImage(t *testing.T) {
	before := resident(t)
	if err := unmapImage(); err != nil {
		t.Fatal(err)
	}
	if after := resident(t); after >= before {
		t.Errorf("%d kB of files are mapped, before it were %d", after, before)
	}
}

// resident is how much of files is mapped in this process, in kB.
func resident(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
