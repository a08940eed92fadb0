// Command kubelet runs a node's pods.
package main

import (
	"coracle.local/libs/program"
	"coracle.local/services/kubelet/app"
)

func main() { program.Main("kubelet", app.Main) }
