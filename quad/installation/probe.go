package installation

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"quadrille.internal/quad/api"
)

// Probe tries one setting of a context.
type Probe struct {
	Setting string
	// Try returns what was found there.
	Try func(context.Context) (string, error)
}

// Probes are of all settings that are there; none changes anything.
func (i *Installation) Probes() (probes []Probe) {
	for _, name := range i.ServiceNames() {
		s, at := i.Services[name], "services."+name
		if s.Public != "" {
			probes = append(probes, Probe{at + ".public", func(ctx context.Context) (string, error) { return s.Public, answers(ctx, s.Public) }})
		}
		if s.Admin != "" {
			probes = append(probes, Probe{at + ".admin", func(ctx context.Context) (string, error) {
				_, err := i.Admin(name).Parked(ctx, "", 1)
				if s.NoDatabase && api.IsProblem(err, "no_such_route") { // which it answers to who has the token
					err = nil
				}
				return s.Admin + " takes the token", err
			}})
		}
		if s.Database.isSet() {
			probes = append(probes, Probe{at + ".database", func(ctx context.Context) (string, error) { return i.tryDatabase(ctx, name) }})
		}
	}
	if i.PSP.URL != "" {
		probes = append(probes, Probe{"psp", func(ctx context.Context) (string, error) {
			ledger, err := i.Ledger()
			if err != nil {
				return "", err
			}
			return i.PSP.URL + " takes the key", ledger.Try(ctx)
		}})
	}
	if i.ERP.URL != "" {
		probes = append(probes, Probe{"erp", func(ctx context.Context) (string, error) {
			books, err := i.ERPBooks()
			if err != nil {
				return "", err
			}
			return i.ERP.URL + " takes the key", books.Try(ctx)
		}})
	}
	return probes
}

var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// answers reports whether there is a service at an address. It need not like the request.
func answers(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+"/", nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%s answers %s", address, res.Status)
	}
	return nil
}

// tryDatabase also finds a role that may do more than read.
func (i *Installation) tryDatabase(ctx context.Context, service string) (string, error) {
	pool, err := i.Database(ctx, service)
	if err != nil {
		return "", err
	}
	var role, database string
	var writes bool
	err = pool.QueryRow(ctx, `select current_user, current_database(),
		current_setting('transaction_read_only') = 'off'
			and coalesce(has_table_privilege(to_regclass('outbox')::oid, 'insert'), false)`).Scan(&role, &database, &writes)
	if err == nil && writes {
		err = i.fault("services."+service+".database", "the role "+role+" may write: give one that only reads")
	}
	return role + " reads " + database, err
}
