module quadrille.internal/services/identity

go 1.26.5

replace (
	quadrille.internal/events => ../../events
	quadrille.internal/platform => ../../platform
)
