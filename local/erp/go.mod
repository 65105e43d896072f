module quadrille.internal/local/erp

go 1.26

require quadrille.internal/local/standin v0.0.0

replace quadrille.internal/local/standin => ../standin
