module quadrille.internal/services/price

go 1.26.5

replace (
	quadrille.internal/events => ../../events
	quadrille.internal/platform => ../../platform
)

require (
	github.com/google/uuid v1.6.0
	go.uber.org/goleak v1.3.0
	pgregory.net/rapid v1.3.0
	quadrille.internal/events v0.0.0
)
