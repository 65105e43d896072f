// Package identity is the service that knows who somebody is: accounts, sessions, keys and tokens.
package identity

import (
	"context"
	"embed"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/identity"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/seal"
	"quadrille.internal/platform/service"
	"quadrille.internal/platform/sweep"
	"quadrille.internal/platform/token"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Service says what identity is.
func Service() service.Spec {
	return service.Spec{
		Name:       "identity",
		Migrations: migrations,
		Port:       18140,
		Sealed:     true,
		Paths:      []string{"/v1/accounts", "/v1/sessions", "/v1/tokens", "/.well-known"},
		PeerPaths:  []string{"/.well-known"},
		Emits:      []string{identity.TypeSessionRevoked, identity.TypeCustomerErased},
		Hears:      []string{customer.TypeErasureRequested, customer.TypeGroupsChanged},
		Partners:   []service.Partner{mailPartner},
		Build:      func(kit *service.Kit) service.App { return newServer(kit).app() },
	}
}

// settings of identity.
type settings struct {
	issuer      string
	sessionLife time.Duration
	rotateEvery time.Duration
	memory      int // of passwords that are hashed, in MiB
	forwarded   bool
}

func readSettings(kit *service.Kit) settings {
	r := kit.Config
	return settings{
		issuer: r.About("the public URL of the shop, which access tokens name as their issuer").
			URL("QUADRILLE_ISSUER", "http://127.0.0.1:18140"),
		sessionLife: r.About("how long after signing in a session ends").Duration("QUADRILLE_SESSION_TTL", 30*24*time.Hour),
		rotateEvery: r.About("how long a key signs access tokens before the next one does").Duration("QUADRILLE_KEY_ROTATION", 30*24*time.Hour),
		memory: r.About("how much memory passwords may take that are being hashed, in MiB; each takes 19").
			Int("QUADRILLE_PASSWORD_MEMORY", 64, 19, 8192),
		forwarded: r.About("`on` behind a gateway, which says in the last address of X-Forwarded-For where a request comes from").
			Choice("QUADRILLE_FORWARDED_FOR", "off", "off", "on") == "on",
	}
}

func newServer(kit *service.Kit) *server {
	set, box := readSettings(kit), seal.Read(kit.Config)
	safe := &vault{pool: kit.Pool, box: box}
	s := &server{
		settings: set, pool: kit.Pool, outbox: kit.Outbox, api: kit.API, vault: safe,
		hasher: newHasher(standard, set.memory),
		limits: &limiter{pool: kit.Pool, vault: safe, log: kit.Log},
		keys:   &keyring{pool: kit.Pool, box: box, log: kit.Log, rotateEvery: set.rotateEvery, now: time.Now},
		log:    kit.Log,
		forget: erasure.New(kit, erase, func(e events.Erased) events.Event { return identity.CustomerErased{Erased: e} }),
	}
	s.waysIn = newWaysIn(kit, safe, box)
	s.reseal = &resealer{pool: kit.Pool, box: box}
	kit.Metrics.Gauge("identity_sealed_by_older_key", "What the master key before still seals; at 0 it can be dropped.", s.reseal.older.Load)
	kit.Metrics.Counter("password_hashes_total", "Passwords that were hashed or checked.", s.hasher.runs.Load)
	return s
}

func (s *server) app() service.App {
	return service.App{
		Handle: s.forget.Handle(handle),
		Routes: s.routes, OpenRoutes: s.openRoutes, OperatorRoutes: s.operatorRoutes,
		Verifier: token.NewVerifier(s.issuer, s.keys),
		Work: []service.Work{
			{Name: "signing keys", Run: s.sweep("signing keys", 10*time.Second, func(ctx context.Context) (bool, error) {
				_, err := s.keys.keep(ctx, false)
				return false, err
			})},
			{Name: "sealing of secrets", Run: s.sweep("sealing of secrets", time.Minute, s.reseal.run)},
			{Name: "mail", Run: s.mails.sweep.Run},
			{Name: "expired ceremonies", Run: s.sweep("expired ceremonies", time.Minute, s.kept.prune)},
			{Name: "expired mailed tokens", Run: s.sweep("expired mailed tokens", time.Minute, s.mails.prune)},
			s.forget.Work(),
			{Name: "expired sessions", Run: s.sweep("expired sessions", time.Minute, s.forgetExpired)},
		},
	}
}

func (s *server) sweep(name string, every time.Duration, batch sweep.Batch) func(context.Context) error {
	return sweep.New(sweep.Config{Name: name, Every: every, Timeout: 10 * time.Second, Log: s.log}, batch).Run
}
