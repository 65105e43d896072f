module quadrille.internal/local

go 1.26.5

require (
	github.com/google/uuid v1.6.0
	github.com/jackc/pgx/v5 v5.12.0
	github.com/spf13/cobra v1.10.2
	go.uber.org/goleak v1.3.0
	go.yaml.in/yaml/v3 v3.0.5
	golang.org/x/sync v0.24.0
	quadrille.internal/local/release v0.0.0-00010101000000-000000000000
)

require (
	github.com/go-chi/chi/v5 v5.5.0 // indirect
	github.com/vgarvardt/pgx-google-uuid/v5 v5.6.0 // indirect
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/docker/cli v29.7.2+incompatible // indirect
	github.com/docker/docker-credential-helpers v0.9.3 // indirect
	github.com/exaring/otelpgx v0.10.0 // indirect
	github.com/go-logr/logr v1.4.3 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/mfridman/interpolate v0.0.2 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/pressly/goose/v3 v3.24.2 // indirect
	github.com/sethvargo/go-retry v0.3.0 // indirect
	github.com/sirupsen/logrus v1.9.4 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel v1.43.0 // indirect
	go.opentelemetry.io/otel/metric v1.43.0 // indirect
	go.opentelemetry.io/otel/trace v1.43.0 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/term v0.46.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	gotest.tools/v3 v3.5.2 // indirect
	quadrille.internal/services/cart v0.0.0-00010101000000-000000000000 // indirect
	quadrille.internal/services/catalog v0.0.0 // indirect
	quadrille.internal/services/customer v0.0.0-00010101000000-000000000000 // indirect
	quadrille.internal/services/identity v0.0.0-00010101000000-000000000000 // indirect
	quadrille.internal/services/price v0.0.0-00010101000000-000000000000 // indirect
)

require (
	github.com/CycloneDX/cyclonedx-go v0.12.0
	github.com/google/go-containerregistry v0.22.1
	github.com/prometheus/client_model v0.6.3
	github.com/prometheus/common v0.72.0
	github.com/redis/go-redis/v9 v9.21.0
	github.com/twmb/franz-go v1.22.2
	github.com/twmb/franz-go/pkg/kadm v1.19.0
	github.com/twmb/franz-go/pkg/kmsg v1.15.0
	go.opentelemetry.io/proto/otlp v1.11.0
	golang.org/x/crypto/x509roots/fallback v0.0.0-20261030153154-30a33513ff6d
	google.golang.org/protobuf v1.36.12
	quadrille.internal/events v0.0.0
	quadrille.internal/platform v0.0.0
	quadrille.internal/quad v0.0.0
	quadrille.internal/services/checkout v0.0.0
	quadrille.internal/services/inventory v0.0.0
	quadrille.internal/services/order v0.0.0
	quadrille.internal/services/payment v0.0.0
	quadrille.internal/workflows/b2b v0.0.0
)

replace (
	quadrille.internal/events => ../events
	quadrille.internal/events/proto => ../events/proto
	quadrille.internal/platform => ../platform
	quadrille.internal/quad => ../quad
	quadrille.internal/services/checkout => ../services/checkout
	quadrille.internal/services/inventory => ../services/inventory
	quadrille.internal/services/order => ../services/order
	quadrille.internal/services/payment => ../services/payment
	quadrille.internal/workflows/b2b => ../workflows/b2b
)

replace quadrille.internal/services/identity => ../services/identity

replace quadrille.internal/services/customer => ../services/customer

replace quadrille.internal/services/gateway => ../services/gateway

replace quadrille.internal/services/catalog => ../services/catalog

replace quadrille.internal/services/price => ../services/price

replace quadrille.internal/services/cart => ../services/cart

replace quadrille.internal/local/release => ./release
