module quadrille.internal/local/release

go 1.26.5
