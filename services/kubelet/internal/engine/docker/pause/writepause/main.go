// Writepause writes the pause executable for its own architecture to standard
// output, for the build of an image.
package main

import (
	"fmt"
	"os"
	"runtime"

	"coracle.local/services/kubelet/internal/engine/docker/pause"
)

func main() {
	program, err := pause.Executable(runtime.GOARCH)
	if err == nil {
		_, err = os.Stdout.Write(program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
