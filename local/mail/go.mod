module quadrille.internal/local/mail

go 1.26

require (
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6
	github.com/emersion/go-smtp v0.25.1
	quadrille.internal/local/standin v0.0.0
)

replace quadrille.internal/local/standin => ../standin
