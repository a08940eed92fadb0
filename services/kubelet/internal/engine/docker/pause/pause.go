// Package pause makes the executable that holds a sandbox's namespaces open.
//
// It is written as machine code since it has to be there before anything can
// be pulled, in a kubelet that is a single file, and one runs for every pod:
// so it is a few hundred bytes, starts at once and needs one page of memory.
// In C it would read:
//
//	sigset_t waited = {SIGINT, SIGTERM, SIGCHLD};
//	sigprocmask(SIG_BLOCK, &waited, NULL);
//	for (;;) switch (sigtimedwait(&waited, NULL, NULL)) {
//	case SIGCHLD:           while (waitpid(-1, NULL, WNOHANG) > 0); break;
//	case SIGINT: case SIGTERM:                              _exit(0);
//	}
//
// The signals are blocked rather than handled because the kernel discards
// what process 1 of a namespace neither blocks nor handles.
package pause

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Supported tells whether Executable knows an architecture.
func Supported(goarch string) bool {
	_, ok := programs[goarch]
	return ok
}

// Executable returns a static ELF executable for Linux.
func Executable(goarch string) ([]byte, error) {
	p, ok := programs[goarch]
	if !ok {
		return nil, fmt.Errorf("no pause program for %s", goarch)
	}
	const base, headers = 0x400000, 64 + 2*56
	size := uint64(headers + len(p.code))
	type segment struct {
		Type, Flags                                  uint32
		Offset, VirtAddr, PhysAddr, File, Mem, Align uint64
	}
	header := struct {
		Ident                                          [16]byte
		Type, Machine                                  uint16
		Version                                        uint32
		Entry, ProgramHeaders, SectionHeaders          uint64
		Flags                                          uint32
		HeaderSize, ProgramHeaderSize, ProgramHeaderNo uint16
		SectionHeaderSize, SectionHeaderNo, Names      uint16
		Load, Stack                                    segment
	}{
		Ident:   [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, // 64 bits, little endian, version 1
		Type:    2,                                      // executable
		Machine: p.machine, Version: 1,
		Entry: base + headers, ProgramHeaders: 64,
		HeaderSize: 64, ProgramHeaderSize: 56, ProgramHeaderNo: 2, SectionHeaderSize: 64,
		// Read and execute. Aligned to 64 KiB, the largest page there is.
		Load: segment{Type: 1, Flags: 5, VirtAddr: base, PhysAddr: base, File: size, Mem: size, Align: 0x10000},
		// PT_GNU_STACK, read and write: without it the stack is executable.
		Stack: segment{Type: 0x6474e551, Flags: 6, Align: 16},
	}
	var out bytes.Buffer
	if err := binary.Write(&out, binary.LittleEndian, header); err != nil {
		return nil, fmt.Errorf("write ELF header: %w", err)
	}
	out.Write(p.code)
	return out.Bytes(), nil
}

type program struct {
	machine uint16 // the ELF number
	code    []byte
}
