// Command scheduler is Dapr's scheduler service, pinned by this module's go.mod.
package main

import "github.com/dapr/dapr/cmd/scheduler/app"

func main() { app.Run() }
