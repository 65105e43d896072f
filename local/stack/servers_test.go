package stack

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func query(t *testing.T, url, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func sqlState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

const insufficientPrivilege = "42501"

func TestServers(t *testing.T) {
	s, events := newStack(t)
	if err := s.UpServers(t.Context()); err != nil {
		t.Fatal(err)
	}

	t.Run("each service has a database of its own", func(t *testing.T) {
		for _, app := range s.WithDatabase() {
			kept := "CREATE TABLE kept (id int); INSERT INTO kept (id) VALUES (1); GRANT SELECT ON kept TO " + quote(app)
			if err := query(t, s.OwnerURL(app), kept); err != nil {
				t.Errorf("%s: %v", app, err)
			}
			if err := query(t, s.DatabaseURL(app), "CREATE TABLE other ()"); sqlState(err) != insufficientPrivilege {
				t.Errorf("%s may create tables: %v", app, err)
			}
		}
		foreign := s.databaseURL("payment", s.passwords["payment"], "order")
		if err := query(t, foreign, "SELECT 1"); sqlState(err) != insufficientPrivilege {
			t.Errorf("payment in the database of order: %v", err)
		}
	})

	t.Run("the auditor reads everything and writes nothing", func(t *testing.T) {
		const readOnlyTransaction = "25006"
		for _, app := range s.WithDatabase() {
			if err := query(t, s.AuditorURL(app), "SELECT * FROM kept"); err != nil {
				t.Errorf("%s: %v", app, err)
			}
			if err := query(t, s.AuditorURL(app), "DELETE FROM kept"); sqlState(err) != readOnlyTransaction {
				t.Errorf("%s: delete: %v", app, err)
			}
		}
	})

	t.Run("commits are durable", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), s.SuperuserURL())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
			var value string
			if err := conn.QueryRow(t.Context(), "SHOW "+setting).Scan(&value); err != nil || value != "on" {
				t.Errorf("%s = %s, %v", setting, value, err)
			}
		}
	})

	t.Run("redis asks for its password", func(t *testing.T) {
		if err := redisPong(s.RedisAddr(), "")(t.Context()); err == nil {
			t.Error("answers without one")
		}
		if err := redisPong(s.RedisAddr(), s.RedisPassword())(t.Context()); err != nil {
			t.Error(err)
		}
	})

	t.Run("secrets are for the owner only", func(t *testing.T) {
		files, err := filepath.Glob(s.secretFile("*"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", file, info.Mode(), err)
			}
		}
	})

	t.Run("up again starts nothing", func(t *testing.T) {
		*events = nil
		if err := s.UpServers(t.Context()); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(*events, func(e Event) bool { return e.State == Started }) {
			t.Errorf("%+v", *events)
		}
	})

	t.Run("a killed server comes back with its data", func(t *testing.T) {
		for _, part := range []string{"postgres", "redis"} {
			if err := s.Process(part).Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.UpServers(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := query(t, s.DatabaseURL("order"), "SELECT 1 / count(*) FROM kept"); err != nil {
			t.Error(err)
		}
	})

	t.Run("down leaves nothing running", func(t *testing.T) {
		if err := s.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, addr := range []string{s.RedisAddr(), s.postgres.host} {
			if err := portFree(addr); err != nil {
				t.Error(err)
			}
		}
		if left, _ := filepath.Glob(s.pidFile("*")); len(left) > 0 {
			t.Errorf("pid files left: %v", left)
		}
	})
}

// PostgreSQL does not start without a logical log where Debezium has left slots.
func TestTheServicesPublishAgainAfterDebezium(t *testing.T) {
	s, _ := newStack(t)
	byDebezium, err := New(Options{Dir: s.Dir, PortShift: testShift, Broker: Kafka, Relay: Debezium})
	if err != nil {
		t.Fatal(err)
	}
	if err := byDebezium.startPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := byDebezium.createDatabases(t.Context()); err != nil {
		t.Fatal(err)
	}
	slot := "SELECT pg_create_logical_replication_slot('" + slotOf("order") + "', 'pgoutput')"
	inOrder := *byDebezium.postgres.superuser
	inOrder.Path = "/order"
	if err := query(t, inOrder.String(), slot); err != nil {
		t.Fatal(err)
	}
	if err := byDebezium.stopPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.UpServers(t.Context()); err != nil {
		t.Fatal(err)
	}
	slots, err := s.Slots(t.Context())
	if err != nil || slots["order"].Status != "" {
		t.Errorf("%v, the slot of order is %+v, want none: it would keep the log for nobody", err, slots["order"])
	}
}

func TestATakenPortIsNamedWithARemedy(t *testing.T) {
	s, _ := newStack(t)
	listener, err := net.Listen("tcp", s.RedisAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	err = s.startRedis(t.Context())
	if environment, ok := errors.AsType[*EnvironmentError](err); !ok || environment.Remedy == "" {
		t.Errorf("err = %v", err)
	}
}

func TestOnlyOneQuadAtATime(t *testing.T) {
	s, _ := newStack(t)
	unlock, err := s.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*EnvironmentError](s.Down(t.Context())); !ok {
		t.Error("a second quad went on")
	}
	unlock()
	if err := s.Down(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPostgresMovesToAFolderItsUserCanReach(t *testing.T) {
	owner, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	if owner == nil {
		t.Skip("only root hands the data to another user")
	}
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Dir: filepath.Join(closed, ".local")})
	if err != nil {
		t.Fatal(err)
	}
	home, err := s.postgresHome(owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if !reachable(home, owner) {
		t.Errorf("%s is out of reach too", home)
	}
}

func TestRedisFromTheEnvironment(t *testing.T) {
	for value, want := range map[string][2]string{
		"redis.example:7000":            {"redis.example:7000", ""},
		"redis://:s3cret@redis.example": {"redis.example:6379", "s3cret"},
		"redis://localhost:6379/0":      {"localhost:6379", ""},
	} {
		if addr, password, err := parseRedis(value); err != nil || [2]string{addr, password} != want {
			t.Errorf("%s: %s, %q, %v", value, addr, password, err)
		}
	}
	for _, value := range []string{"rediss://localhost", "redis://localhost/3", "redis://"} {
		if _, _, err := parseRedis(value); err == nil {
			t.Errorf("%s was taken", value)
		}
	}
}
