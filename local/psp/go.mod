module quadrille.internal/local/psp

go 1.26
