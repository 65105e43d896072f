package stack

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
)

// Apps are the ids of the services, in the order of local/dapr.yaml.
func (s *Stack) Apps() []string {
	ids := make([]string, len(s.run.Apps))
	for i, app := range s.run.Apps {
		ids[i] = app.ID
	}
	return ids
}

// WithDatabase are the services that have a database: local/dapr.yaml gives them its URL.
func (s *Stack) WithDatabase() []string {
	return slices.DeleteFunc(s.Apps(), func(app string) bool { return s.App(app).Env["QUADRILLE_DATABASE_URL_FILE"] == "" })
}

// App describes one service, or one of its replicas; it panics on an id that
// local/dapr.yaml lacks.
func (s *Stack) App(id string) *App {
	if i := slices.IndexFunc(s.run.Apps, func(a App) bool { return a.ID == id }); i >= 0 {
		return &s.run.Apps[i]
	}
	if i := slices.IndexFunc(s.further, func(a App) bool { return a.Part == id }); i >= 0 {
		return &s.further[i]
	}
	panic(fmt.Sprintf("stack: no app %q in local/dapr.yaml", id))
}

// HTTPURL is where others reach the app's public API, whichever replica answers.
func (s *Stack) HTTPURL(app string) string {
	if s.App(app).closed() {
		app = gateway
	}
	return "http://" + cmp.Or(s.App(app).Public, s.App(app).Env["QUADRILLE_HTTP_ADDR"])
}

// HealthURL is where the app's health and metrics are.
func (s *Stack) HealthURL(app string) string {
	return "http://" + s.App(app).Env["QUADRILLE_HEALTH_ADDR"]
}

// AdminURL is where operators reach the app, with its AdminToken.
func (s *Stack) AdminURL(app string) string {
	return "http://" + s.App(app).Env["QUADRILLE_ADMIN_ADDR"]
}

// DaprURL is the HTTP API of the app's sidecar.
func (s *Stack) DaprURL(app string) string {
	return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.App(app).DaprHTTP))
}

// DatabaseURL connects as the app to its own database.
func (s *Stack) DatabaseURL(app string) string {
	return s.databaseURL(app, s.passwords[app], app)
}

// OwnerURL connects as the role that owns the app's database and migrates it.
func (s *Stack) OwnerURL(app string) string {
	return s.databaseURL(ownerOf(app), s.passwords[ownerOf(app)], app)
}

// AuditorURL connects to the app's database to read only.
func (s *Stack) AuditorURL(app string) string {
	return s.databaseURL(auditor, s.passwords[auditor], app)
}

// SuperuserURL connects to the server's database "postgres" with every right.
func (s *Stack) SuperuserURL() string { return s.postgres.superuser.String() }

// RedisAddr is the broker's host:port.
func (s *Stack) RedisAddr() string { return s.redis.addr }

// RedisPassword is empty when a server named by QUADRILLE_REDIS asks for none.
func (s *Stack) RedisPassword() string { return s.redis.password }

// RedisURL is address and password in one.
func (s *Stack) RedisURL() string {
	u := url.URL{Scheme: "redis", Host: s.redis.addr}
	if s.redis.password != "" {
		u.User = url.UserPassword("", s.redis.password)
	}
	return u.String()
}

// AdminToken is what operators' calls to the app carry.
func (s *Stack) AdminToken(app string) string { return s.admin[app] }

// APIToken is what calls of a sidecar to its service carry (APP_API_TOKEN).
func (s *Stack) APIToken() string { return s.tokens.app }

// DaprAPIToken is what calls to a sidecar carry (DAPR_API_TOKEN).
func (s *Stack) DaprAPIToken() string { return s.tokens.dapr }

// BridgeURL is where the one process is told to move services.
func (s *Stack) BridgeURL() string { return "http://" + s.addr(bridgeAdminPort) }

// PSPURL is the payment provider's stand-in.
func (s *Stack) PSPURL() string { return "http://" + s.addr(pspPort) }

// PSPKey authenticates at the payment provider.
func (s *Stack) PSPKey() string { return s.tokens.psp }

// ERPURL is the ERP's stand-in.
func (s *Stack) ERPURL() string { return "http://" + s.addr(erpPort) }

// ERPKey authenticates at the ERP.
func (s *Stack) ERPKey() string { return s.tokens.erp }

// MailURL is where the mail provider's stand-in shows the mail that it took.
func (s *Stack) MailURL() string { return "http://" + s.addr(mailPort) }

// MailKey authenticates there.
func (s *Stack) MailKey() string { return s.tokens.mail }

// Components is the folder of the component files that sidecars load.
func (s *Stack) Components() string { return s.run.Common.ResourcesPaths[0] }

// LogFile is where a part writes its log.
func (s *Stack) LogFile(part string) string { return filepath.Join(s.Dir, "log", part+".log") }

// LogDir holds the logs of all parts.
func (s *Stack) LogDir() string { return filepath.Join(s.Dir, "log") }

// bin is a binary of this repository, shared by all stacks of it.
func (s *Stack) bin(name string) string { return filepath.Join(s.Root, ".local", "bin", name) }

func (s *Stack) daprBin(name string) string {
	return filepath.Join(s.run.Common.RuntimePath, "bin", name)
}
