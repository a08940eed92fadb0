// Command controller-manager runs the controllers that bring the cluster to the
// state that its objects ask for.
package main

import (
	"coracle.local/libs/program"
	"coracle.local/services/controller-manager/app"
)

func main() { program.Main("controller-manager", app.Main) }
