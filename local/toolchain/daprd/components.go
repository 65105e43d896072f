package main

import (
	"github.com/dapr/components-contrib/nameresolution/mdns"
	"github.com/dapr/components-contrib/nameresolution/sqlite"
	inmemory "github.com/dapr/components-contrib/pubsub/in-memory"
	"github.com/dapr/components-contrib/pubsub/kafka"
	"github.com/dapr/components-contrib/secretstores/local/env"
	"github.com/dapr/components-contrib/secretstores/local/file"
	postgresv1 "github.com/dapr/components-contrib/state/postgresql/v1"
	postgresv2 "github.com/dapr/components-contrib/state/postgresql/v2"
	"github.com/dapr/components-contrib/state/redis"
	versions "github.com/dapr/dapr/pkg/components"
	bindings "github.com/dapr/dapr/pkg/components/bindings"
	configuration "github.com/dapr/dapr/pkg/components/configuration"
	conversation "github.com/dapr/dapr/pkg/components/conversation"
	crypto "github.com/dapr/dapr/pkg/components/crypto"
	lock "github.com/dapr/dapr/pkg/components/lock"
	middleware "github.com/dapr/dapr/pkg/components/middleware/http"
	names "github.com/dapr/dapr/pkg/components/nameresolution"
	pubsub "github.com/dapr/dapr/pkg/components/pubsub"
	secretstores "github.com/dapr/dapr/pkg/components/secretstores"
	state "github.com/dapr/dapr/pkg/components/state"
	"github.com/dapr/dapr/pkg/runtime/registry"
)

// components lists what this sidecar can be asked for in a component file. The
// kinds without an entry keep their empty registry: the runtime looks into each.
func components() *registry.Options {
	broker := pubsub.DefaultRegistry
	broker.Logger = logContrib
	broker.RegisterComponent(newRedisStreams, "redis")
	broker.RegisterComponent(kafka.NewKafka, "kafka")
	broker.RegisterComponent(inmemory.New, "in-memory")

	store := state.DefaultRegistry
	store.Logger = logContrib
	store.RegisterComponent(redis.NewRedisStateStore, "redis")
	for _, name := range []string{"postgres", "postgresql"} {
		store.RegisterComponentWithVersions(name, versions.Versioning{
			Preferred: versions.VersionConstructor{Version: "v2", Constructor: postgresv2.NewPostgreSQLStateStore},
			Others:    []versions.VersionConstructor{{Version: "v1", Constructor: postgresv1.NewPostgreSQLStateStore}},
			Default:   "v1",
		})
	}

	resolver := names.DefaultRegistry
	resolver.Logger = logContrib
	resolver.RegisterComponent(sqlite.NewResolver, "sqlite")
	resolver.RegisterComponent(mdns.NewResolver, "mdns")

	secrets := secretstores.DefaultRegistry
	secrets.Logger = logContrib
	secrets.RegisterComponent(env.NewEnvSecretStore, "local.env")
	secrets.RegisterComponent(file.NewLocalSecretStore, "local.file")

	return registry.NewOptions().
		WithPubSubs(broker).
		WithStateStores(store).
		WithNameResolutions(resolver).
		WithSecretStores(secrets).
		WithConfigurations(configuration.DefaultRegistry).
		WithLocks(lock.DefaultRegistry).
		WithBindings(bindings.DefaultRegistry).
		WithCryptoProviders(crypto.DefaultRegistry).
		WithHTTPMiddlewares(middleware.DefaultRegistry).
		WithConversations(conversation.DefaultRegistry)
}
