// Command dapr is the Dapr CLI, pinned by this module's go.mod.
package main

import "github.com/dapr/cli/cmd"

// version and apiVersion are what the CLI's own build injects.
var (
	version    = "1.16.5"
	apiVersion = "1.0"
)

func main() { cmd.Execute(version, apiVersion) }
