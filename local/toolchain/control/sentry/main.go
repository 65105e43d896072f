// Command sentry is Dapr's certificate authority, pinned by this module's go.mod.
package main

import "github.com/dapr/dapr/cmd/sentry/app"

func main() { app.Run() }
