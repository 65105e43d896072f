module quadrille.internal/services/gateway

go 1.26.5

replace (
	quadrille.internal/events => ../../events
	quadrille.internal/platform => ../../platform
)
