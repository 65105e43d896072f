// Command placement is Dapr's placement service, pinned by this module's go.mod.
package main

import "github.com/dapr/dapr/cmd/placement/app"

func main() { app.Run() }
