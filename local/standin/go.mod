module quadrille.internal/local/standin

go 1.26
