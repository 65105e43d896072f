package service_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
)

// startPgBouncer starts a PgBouncer in transaction mode before the test server and
// returns the URL of a database through it.
func startPgBouncer(t *testing.T, database string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("PGBOUNCER IS NOT TESTED: there is no pgbouncer here (Debian has a package)")
	}
	direct, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	addr, password := servicetest.FreeAddr(t), ""
	if direct.User != nil {
		password, _ = direct.User.Password()
	}
	host, port, _ := net.SplitHostPort(addr)
	dir, err := os.MkdirTemp("", "pgbouncer") //nolint:usetesting // that another user may read, unlike t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	users := fmt.Sprintf("%q %q\n", direct.User.Username(), password)
	ini := fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = %s
listen_port = %s
unix_socket_dir =
pool_mode = transaction
auth_type = trust
auth_file = %s/users
default_pool_size = 4
`, direct.Hostname(), direct.Port(), host, port, dir)
	for name, text := range map[string]string{"users": users, "ini": ini} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{filepath.Join(dir, "ini")}
	if os.Getuid() == 0 { // it refuses to run as root
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd, log := exec.Command(program, args...), new(log)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("pgbouncer:\n%s", log)
		}
	})
	direct.Host = addr
	return direct.String()
}

// settle runs statements on the test server as superuser.
func settle(t *testing.T, statements ...string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	server, err := pgx.Connect(ctx, os.Getenv("QUADRILLE_TEST_POSTGRES"))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close(ctx)
	for _, sql := range statements {
		if _, err := server.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// A service behind PgBouncer in transaction mode wants its settings from its role,
// says so with the statements that do it, and works then.
func TestPgBouncerInTransactionMode(t *testing.T) {
	d := startDaprd(t)
	env := environment(t, d)
	env["QUADRILLE_DATABASE_URL"] = startPgBouncer(t, env["QUADRILLE_DATABASE_URL"])
	if err := run(t, env); err == nil || !strings.Contains(err.Error(), "unsupported startup parameter") {
		t.Errorf("without the setting Run = %v", err)
	}

	env["QUADRILLE_DATABASE_POOLER"] = "transaction"
	err := run(t, env)
	if err == nil || !strings.Contains(err.Error(), "set statement_timeout = '10s';") {
		t.Fatalf("without defaults of the role Run = %v", err)
	}
	_, statements, _ := strings.Cut(err.Error(), "\n")
	settle(t, strings.Split(statements, "\n")...)
	name := databaseOf(t, env)
	settle(t, `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '`+name+`'`) // as RECONNECT does

	s := start(t, asking(), env)
	s.eventually("/readyz", http.StatusOK)
	var callers sync.WaitGroup
	for range 8 { // more than the pooler has server connections
		callers.Go(func() {
			for range 25 {
				orderID, raw := paid(t)
				for range 2 {
					if got := s.deliver(raw).GetStatuses()[0].GetStatus(); got != runtimev1.TopicEventResponse_SUCCESS {
						t.Errorf("order %s is answered %v", orderID, got)
					}
				}
				res, err := http.Get("http://" + env["QUADRILLE_HTTP_ADDR"] + "/v1/ask")
				if err != nil {
					t.Error(err)
					continue
				}
				_ = res.Body.Close()
				if res.StatusCode != http.StatusNoContent {
					t.Errorf("asking answered %s", res.Status)
				}
			}
		})
	}
	published := map[uuid.UUID]bool{}
	for len(published) < 200 {
		entry := <-d.events
		published[uuid.MustParse(entry.GetEntryId())] = true
	}
	callers.Wait()
	metrics := s.health("/metrics", http.StatusOK)
	for _, want := range []string{`quadrille_inbox_handled_total{service="order"} 400`, `quadrille_inbox_duplicates_total{service="order"} 200`, `quadrille_inbox_parked_total{service="order"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q among the metrics", want)
		}
	}
	if err := s.stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
}

func databaseOf(t *testing.T, env map[string]string) string {
	t.Helper()
	u, err := url.Parse(env["QUADRILLE_DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// New connections take the credentials that the file holds now, so that a password
// can be changed while a service runs.
func TestCredentialsAreReadAgain(t *testing.T) {
	database := pgtest.New(t)
	database.Migrate(t, pgtest.None)
	file := filepath.Join(t.TempDir(), "url")
	write := func(url string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(url+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(database.Runtime)
	env := environment(t, startDaprd(t))
	delete(env, "QUADRILLE_DATABASE_URL")
	env["QUADRILLE_DATABASE_URL_FILE"] = file
	s := start(t, asking(), env)
	s.eventually("/readyz", http.StatusOK)

	u, err := url.Parse(database.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	settle(t,
		`revoke connect on database `+name+` from public`,
		`revoke connect on database `+name+` from `+pgx.Identifier{u.User.Username()}.Sanitize(),
		`select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '`+name+`'`)
	s.eventually("/readyz", http.StatusServiceUnavailable)
	write(database.Superuser)
	s.eventually("/readyz", http.StatusOK)
}
