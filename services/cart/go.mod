module quadrille.internal/services/cart

go 1.26.5

replace (
	quadrille.internal/events => ../../events
	quadrille.internal/platform => ../../platform
)
