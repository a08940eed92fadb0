// Command kube-proxy leads traffic to Services to their pods, on one node, with
// iptables.
package main

import (
	"coracle.local/libs/program"
	"coracle.local/services/kube-proxy/app"
)

func main() { program.Main("kube-proxy", app.Main) }
