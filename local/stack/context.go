package stack

import "quadrille.internal/quad/installation"

// Context is the stack as quad's commands reach any installation.
func (s *Stack) Context() installation.Context {
	secret := func(name string) installation.Secret { return installation.Secret{File: s.secretFile(name)} }
	c := installation.Context{
		Services: make(map[string]installation.Service),
		PSP:      installation.Partner{URL: s.PSPURL(), Key: secret("psp.key")},
		ERP:      installation.Partner{URL: s.ERPURL(), Key: secret("erp.key")},
		Dir:      s.Dir,
	}
	for _, app := range s.Apps() {
		c.Services[app] = installation.Service{
			Public: s.HTTPURL(app), Admin: s.AdminURL(app),
			AdminToken: secret(app + ".admin"), Database: secret(auditorFile(app)),
		}
	}
	return c
}

// auditorFile has the URL of an app's database for who only reads.
func auditorFile(app string) string { return app + "-auditor.url" }
