package service

import "quadrille.internal/platform/config"

// noTokens is the value of QUADRILLE_INSECURE that lets a service start without its
// tokens.
const noTokens = "no-tokens"

func readInsecure(r *config.Reader) bool {
	return r.Choice("QUADRILLE_INSECURE", "off", "off", noTokens) == noTokens
}

// readAdminToken reads what operators prove themselves with. Only QUADRILLE_INSECURE lets
// it be missing.
func readAdminToken(r *config.Reader, insecure bool) config.Secret {
	if insecure {
		return r.OptionalSecret("QUADRILLE_ADMIN_TOKEN")
	}
	return r.Secret("QUADRILLE_ADMIN_TOKEN")
}
