package network

import (
	"io"
	"os/exec"
)

func runTo(out io.Writer, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout = out
	return cmd.Run()
}
