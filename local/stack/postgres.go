package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/audit"
)

const (
	auditor       = "auditor"
	stateStore    = "workflow" // role and database of the workflows' checkpoints
	postgresGrace = 60 * time.Second
)

// postgresConf suits a small machine. Durability is what production has: a commit
// is on disk before it is answered.
const postgresConf = `listen_addresses = '127.0.0.1'
port = %d
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = %d

fsync = on
synchronous_commit = on
full_page_writes = on
# When each row was settled is thus known to the microsecond, for quad bench, at
# the price of ten bytes a transaction that are not even written to the log.
track_commit_timestamp = on

shared_buffers = '256MB'
effective_cache_size = '1GB'
max_wal_size = '2GB'
random_page_cost = 1.1
jit = off

# The outbox, whose rows live for moments, sets its own pace in the kit's migration.
# The other tables are mostly appended to, or updated within their page: vacuuming
# them early took a third of the server's time under load.
autovacuum_naptime = '20s'
autovacuum_vacuum_scale_factor = 0.1
autovacuum_vacuum_cost_limit = 2000

log_line_prefix = '%%m [%%p] %%u@%%d '
`

// startPostgres brings up the private server, unless QUADRILLE_POSTGRES names one.
func (s *Stack) startPostgres(ctx context.Context) error {
	if s.postgres.external {
		if err := s.postgresReady(ctx); err != nil {
			return &EnvironmentError{
				Problem: fmt.Sprintf("the PostgreSQL of QUADRILLE_POSTGRES does not answer: %v", err),
				Remedy:  "start it, correct the superuser URL, or unset the variable for a private instance",
			}
		}
		s.report("postgres", Running, s.postgres.host+" (QUADRILLE_POSTGRES)")
		return nil
	}
	if s.alreadyRunning("postgres", s.postgres.host) {
		return nil
	}

	bin, err := s.findPostgres(ctx)
	if err != nil {
		return err
	}
	owner, err := unprivileged()
	if err != nil {
		return err
	}
	data, err := s.prepareCluster(ctx, bin, owner)
	if err != nil {
		return err
	}
	return s.start(ctx, command{
		name: "postgres",
		args: []string{filepath.Join(bin, "postgres"), "-D", data},
		dir:  data,
		user: owner,
	}, s.postgres.host, s.postgresReady)
}

func (s *Stack) postgresReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.SuperuserURL())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// prepareCluster makes the data folder the first time and writes the settings
// again every time.
func (s *Stack) prepareCluster(ctx context.Context, bin string, owner *syscall.Credential) (data string, err error) {
	home, err := s.postgresHome(owner)
	if err != nil {
		return "", err
	}
	data = filepath.Join(home, "data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); errors.Is(err, fs.ErrNotExist) {
		if err := s.initdb(ctx, bin, home, owner); err != nil {
			return "", err
		}
	}
	settings := filepath.Join(data, "quadrille.conf")
	conf := postgresConf
	left, err := filepath.Glob(filepath.Join(data, "pg_replslot", audit.SlotPrefix+"*"))
	if err != nil {
		return "", err
	}
	if s.ByDebezium() || s.opts.LogicalWAL || len(left) > 0 { // with slots it does not start otherwise
		conf += logicalConf
	}
	if err := os.WriteFile(settings, fmt.Appendf(nil, conf, portOf(s.postgres.host), 200*s.Replicas()), 0o644); err != nil {
		return "", err
	}
	return data, nil
}

// initdb works in a folder beside the final one, so that an interrupted run leaves
// nothing that looks like a cluster.
func (s *Stack) initdb(ctx context.Context, bin, home string, owner *syscall.Credential) (err error) {
	fresh := filepath.Join(home, "fresh")
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	password := filepath.Join(home, "password")
	if err := os.WriteFile(password, []byte(s.postgres.password), 0o600); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(password)) }()
	if owner != nil {
		if err := os.Chown(password, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}

	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", fresh,
		"--username", "postgres", "--pwfile", password, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C", "--data-checksums")
	cmd.Dir = home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}

	conf, err := os.OpenFile(filepath.Join(fresh, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = conf.WriteString("\ninclude 'quadrille.conf'\n")
	if err := errors.Join(err, conf.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(home, "data"))
}

// unprivileged returns who is to run the server when quad runs as root, which
// PostgreSQL refuses; nil otherwise.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, &EnvironmentError{
		Problem: "PostgreSQL does not run as root, and there is neither a user postgres nor nobody",
		Remedy:  "run quad as another user",
	}
}

// postgresHome is the folder of the cluster, owned by owner. When owner can't
// reach the stack's folder (a checkout below /root, say), it is one that it can.
func (s *Stack) postgresHome(owner *syscall.Credential) (string, error) {
	home := filepath.Join(s.Dir, "postgres")
	if owner != nil && !reachable(s.Dir, owner) {
		home = filepath.Join("/var/lib/quadrille", strings.ReplaceAll(strings.Trim(s.Dir, "/"), "/", "-"))
		s.report("postgres", Note, fmt.Sprintf("its user can't reach %s, so the data is in %s", s.Dir, home))
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return "", err
	}
	if err := os.Mkdir(home, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if owner == nil {
		return home, nil
	}
	return home, os.Chown(home, int(owner.Uid), int(owner.Gid))
}

func reachable(dir string, as *syscall.Credential) bool {
	cmd := exec.Command("test", "-x", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	return cmd.Run() == nil
}

// quote matters: one of the services is called order.
func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func (s *Stack) databaseURL(role, password, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, password),
		Host:     s.postgres.host,
		Path:     "/" + database,
		RawQuery: s.postgres.query,
	}
	return u.String()
}
