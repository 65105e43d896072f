package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"quadrille.internal/local/stack"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/provider"
	"quadrille.internal/quad/timeline"
	"quadrille.internal/quad/verify"
)

// running is a stack that is up, as commands use it.
type running struct {
	stack    *stack.Stack
	client   *api.Client
	provider *provider.Client
	erp      *provider.ERP
	books    map[string]*pgxpool.Pool // by service, to be read only
}

// connect prepares the connections; they are made when first used. patience is
// that of api.New.
func (g *globals) connect(ctx context.Context, patience time.Duration) (*running, error) {
	s, err := g.open(nil)
	if err != nil {
		return nil, err
	}
	r := &running{
		stack: s,
		client: api.New(api.URLs{
			Checkout: s.HTTPURL("checkout"), Inventory: s.HTTPURL("inventory"), Order: s.HTTPURL("order"),
			B2B:            s.HTTPURL("b2b"),
			InventoryAdmin: api.AdminAccess{URL: s.AdminURL("inventory"), Token: s.AdminToken("inventory")},
			OrderAdmin:     api.AdminAccess{URL: s.AdminURL("order"), Token: s.AdminToken("order")},
			B2BAdmin:       api.AdminAccess{URL: s.AdminURL("b2b"), Token: s.AdminToken("b2b")},
		}, patience),
		provider: provider.New(s.PSPURL(), s.PSPKey()),
		erp:      provider.NewERP(s.ERPURL(), s.ERPKey()),
		books:    make(map[string]*pgxpool.Pool),
	}
	for _, app := range s.Apps() {
		if r.books[app], err = pgxpool.New(ctx, s.AuditorURL(app)); err != nil {
			r.close()
			return nil, fmt.Errorf("database of %s: %w", app, err)
		}
	}
	return r, nil
}

func (r *running) close() {
	r.client.Close()
	r.provider.Close()
	r.erp.Close()
	for _, pool := range r.books {
		pool.Close()
	}
}

// admins are the services' admin ports, in the order of local/dapr.yaml; only
// that of one service, unless that is "".
func (r *running) admins(only string) (names []string, admins map[string]*api.Admin, err error) {
	admins = make(map[string]*api.Admin)
	for _, app := range r.stack.Apps() {
		if only == "" || only == app {
			names = append(names, app)
			admins[app] = api.NewAdmin(r.stack.AdminURL(app), r.stack.AdminToken(app))
		}
	}
	if len(names) == 0 {
		return nil, nil, usageError{fmt.Errorf("there is no service %q; there are %v", only, r.stack.Apps())}
	}
	return names, admins, nil
}

func (r *running) timelineSources() timeline.Sources {
	return timeline.Sources{
		Checkout: r.books["checkout"], Inventory: r.books["inventory"],
		Payment: r.books["payment"], Order: r.books["order"], Others: r.others(),
	}
}

// others are the services that quad has no rules for; they bring their own.
func (r *running) others() map[string]*pgxpool.Pool {
	others := maps.Clone(r.books)
	for _, known := range []string{"checkout", "inventory", "payment", "order", "b2b"} {
		delete(others, known)
	}
	return others
}

func (r *running) verifySources(settle time.Duration) verify.Sources {
	return verify.Sources{
		Checkout: r.books["checkout"], Inventory: r.books["inventory"],
		Payment: r.books["payment"], Order: r.books["order"],
		Provider: r.provider, B2B: r.books["b2b"], ERP: r.erp, Others: r.others(), Settle: settle,
	}
}

// withRunning makes a command of something done with a stack that is up.
func (g *globals) withRunning(do func(cmd *cobra.Command, r *running, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		r, err := g.connect(cmd.Context(), 0)
		if err != nil {
			return err
		}
		defer r.close()
		return explain(do(cmd, r, args))
	}
}

// explain turns what a person cannot act upon into what he can.
func explain(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return &stack.EnvironmentError{Problem: "Quadrille is not running, or not all of it", Remedy: "run `make up`; `quad doctor` says what is missing"}
	}
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == http.StatusBadRequest {
		return usageError{err}
	}
	return err
}

// exactly is for commands that take one argument of each of the names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usageError{fmt.Errorf("%s takes %v, got %d arguments (see %s --help)", cmd.CommandPath(), names, len(args), cmd.CommandPath())}
		}
		return nil
	}
}

func parseID(what, text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return id, usageError{fmt.Errorf("%q is no id of an %s: that is a UUID such as 019aa0c2-…", text, what)}
	}
	return id, nil
}
