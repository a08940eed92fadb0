// Command apiserver serves the Kubernetes API, over REST and typed gRPC, from
// etcd.
package main

import (
	"coracle.local/libs/program"
	"coracle.local/services/apiserver/app"
)

func main() { program.Main("apiserver", app.Main) }
