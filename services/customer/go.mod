module quadrille.internal/services/customer

go 1.26.5

replace (
	quadrille.internal/events => ../../events
	quadrille.internal/platform => ../../platform
)
