package stack

import (
	"slices"

	"quadrille.internal/quad/installation"
)

// Context is the stack as quad's commands reach any installation.
func (s *Stack) Context() installation.Context {
	secret := func(name string) installation.Secret { return installation.Secret{File: s.secretFile(name)} }
	c := installation.Context{
		Services: make(map[string]installation.Service),
		PSP:      installation.Partner{URL: s.PSPURL(), Key: secret("psp.key")},
		ERP:      installation.Partner{URL: s.ERPURL(), Key: secret("erp.key")},
		Dir:      s.Dir,
	}
	if s.opts.Trace {
		c.Traces = s.TracesURL()
	}
	for _, app := range s.Apps() {
		service := installation.Service{Public: s.HTTPURL(app), Admin: s.AdminURL(app), AdminToken: secret(app + ".admin")}
		if slices.Contains(s.WithDatabase(), app) {
			service.Database = secret(auditorFile(app))
		} else {
			service.NoDatabase = true
		}
		c.Services[app] = service
	}
	return c
}

// auditorFile has the URL of an app's database for who only reads.
func auditorFile(app string) string { return app + "-auditor.url" }
