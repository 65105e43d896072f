package stack

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v3"
)

const production = "deploy/platform/postgres"

// What an administrator runs in production gives each service what it has on one machine, and
// nobody more.
func TestPostgresOfProduction(t *testing.T) {
	s, _ := newStack(t)
	if err := s.StartServer(t.Context(), "postgres"); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(s.Root, production, "bootstrap.sql")
	bootstrap(t, s, script)
	passwords := bootstrap(t, s, script) // it may be repeated, and changes passwords
	as := func(role, database string) string { return s.databaseURL(role, passwords[role], database) }

	for _, app := range s.WithDatabase() {
		made := "CREATE TABLE made (id int); GRANT SELECT ON made TO " + quote(app)
		if err := query(t, as(ownerOf(app), app), made); err != nil {
			t.Errorf("the owner of %s: %v", app, err)
		}
		if err := query(t, as(app, app), "SELECT * FROM made"); err != nil {
			t.Errorf("%s: %v", app, err)
		}
		if err := query(t, as(app, app), "CREATE TABLE other ()"); sqlState(err) != insufficientPrivilege {
			t.Errorf("%s may create tables: %v", app, err)
		}
		if err := query(t, as(auditor, app), "SELECT * FROM made"); err != nil {
			t.Errorf("the auditor in %s: %v", app, err)
		}
	}
	if err := query(t, as(stateStore, stateStore), "CREATE TABLE own (id int)"); err != nil {
		t.Errorf("the workflows: %v", err)
	}
	if err := query(t, as("payment", "order"), "SELECT 1"); sqlState(err) != insufficientPrivilege {
		t.Errorf("payment in the database of order: %v", err)
	}

	t.Run("pg_hba keeps roles to their own database", func(t *testing.T) {
		const rejected = "28000"
		// As CloudNativePG makes databases: all who may connect to the server may to each.
		if err := query(t, s.SuperuserURL(), `GRANT CONNECT ON DATABASE "order" TO public`); err != nil {
			t.Fatal(err)
		}
		if err := query(t, as("payment", "order"), "SELECT 1"); err != nil {
			t.Fatalf("payment is kept out without pg_hba: %v", err)
		}
		useRules(t, s, rulesOfProduction(t, s))
		for _, app := range s.WithDatabase() {
			for _, role := range []string{app, ownerOf(app), auditor} {
				if err := query(t, as(role, app), "SELECT 1"); err != nil {
					t.Errorf("%s in the database of %s: %v", role, app, err)
				}
			}
		}
		for _, role := range []string{"payment", "payment_owner", stateStore} {
			if err := query(t, as(role, "order"), "SELECT 1"); sqlState(err) != rejected {
				t.Errorf("%s in the database of order: %v", role, err)
			}
		}
	})
}

var passwordOf = regexp.MustCompile(`password :'(\w+)'`)

// bootstrap runs the script by psql and returns the passwords that it gave.
func bootstrap(t *testing.T, s *Stack, script string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	bin, err := s.findPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	psql := filepath.Join(bin, "psql")
	if _, err := os.Stat(psql); err != nil {
		psql = "psql"
	}
	args, passwords := []string{s.SuperuserURL(), "--quiet", "-f", script}, make(map[string]string)
	for _, found := range passwordOf.FindAllStringSubmatch(string(text), -1) {
		passwords[found[1]] = randomSecret()
		args = append(args, "-v", found[1]+"="+passwords[found[1]])
	}
	if out, err := exec.CommandContext(t.Context(), psql, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return passwords
}

// rulesOfProduction are the lines of pg_hba.conf that production has, without TLS.
func rulesOfProduction(t *testing.T, s *Stack) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Root, production, "cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var cluster struct {
		Spec struct {
			PostgreSQL struct {
				Rules []string `yaml:"pg_hba"`
			} `yaml:"postgresql"`
		}
	}
	if err := yaml.Unmarshal(text, &cluster); err != nil {
		t.Fatal(err)
	}
	rules := cluster.Spec.PostgreSQL.Rules
	if len(rules) == 0 {
		t.Fatal("the cluster has no rules")
	}
	rules = slices.Clone(rules)
	for i, rule := range rules {
		rules[i] = strings.Replace(rule, "hostssl ", "host ", 1)
	}
	return rules
}

// useRules gives the server other lines of pg_hba.conf, between those that CloudNativePG puts
// before and behind them.
func useRules(t *testing.T, s *Stack, rules []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var file string
	if err := conn.QueryRow(t.Context(), "SHOW hba_file").Scan(&file); err != nil {
		t.Fatal(err)
	}
	lines := slices.Concat([]string{"host all postgres all scram-sha-256"}, rules, []string{"host all all all scram-sha-256"})
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var faults int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL").Scan(&faults); err != nil || faults > 0 {
		t.Fatalf("%d of the rules are wrong, %v", faults, err)
	}
	// A backend that starts after the reload has the rules; the server says when it has read them.
	const reload = `SELECT pg_reload_conf()`
	before := loaded(t, conn)
	if _, err := conn.Exec(t.Context(), reload); err != nil {
		t.Fatal(err)
	}
	for loaded(t, conn) == before {
		if t.Context().Err() != nil {
			t.Fatal("the server does not read its rules")
		}
	}
}

func loaded(t *testing.T, conn *pgx.Conn) (at int64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT extract(epoch FROM pg_conf_load_time()) * 1000000").Scan(&at); err != nil {
		t.Fatal(err)
	}
	return at
}
