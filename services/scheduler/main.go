// Command scheduler finds a node for every pod.
package main

import (
	"coracle.local/libs/program"
	"coracle.local/services/scheduler/app"
)

func main() { program.Main("scheduler", app.Main) }
