package service

import (
	"context"
	"log/slog"

	"quadrille.internal/platform/config"
)

// noTokens is the value of QUADRILLE_INSECURE that lets a service start without its
// tokens.
const noTokens = "no-tokens"

// tokens are what callers prove themselves with, each kind its own: app is the
// sidecar's when it calls us, dapr ours when we call the sidecar, admin that of
// operators.
type tokens struct {
	app, dapr, admin config.Secret
	insecure         bool
}

// readTokens wants every token: without app anyone who reaches the gRPC port could
// forge events. Only QUADRILLE_INSECURE lets one be missing.
func readTokens(r *config.Reader) tokens {
	insecure := r.Choice("QUADRILLE_INSECURE", "off", "off", noTokens) == noTokens
	read := r.Secret
	if insecure {
		read = r.OptionalSecret
	}
	return tokens{
		app: read("APP_API_TOKEN"), dapr: read("DAPR_API_TOKEN"), admin: read("QUADRILLE_ADMIN_TOKEN"),
		insecure: insecure,
	}
}

// warn says at every start what a service that may do without tokens leaves open.
func (t tokens) warn(ctx context.Context, log *slog.Logger) {
	if !t.insecure {
		return
	}
	log.WarnContext(ctx, "QUADRILLE_INSECURE=no-tokens: never run this where others reach the ports",
		"app_api_token", t.app != "", "dapr_api_token", t.dapr != "", "admin_token", t.admin != "")
}
