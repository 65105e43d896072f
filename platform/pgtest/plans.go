package pgtest

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The ways to plan a prepared statement: for the arguments of each execution, or
// once for any. The server changes between them by itself, so both must be good.
const (
	Custom  = "force_custom_plan"
	Generic = "force_generic_plan"
)

// Plans are the plans by which the server ran statements.
type Plans struct {
	mu  sync.Mutex
	all []string
	// counted are those that Pages has been told of.
	counted int
}

// Explain returns a second pool on the database of pool, whose statements are
// planned in the given way, and their plans. It connects as superuser, who alone may
// load auto_explain, and goes on with the rights of a service.
func Explain(t testing.TB, pool *pgxpool.Pool, way string) (*pgxpool.Pool, *Plans) {
	t.Helper()
	plans := &Plans{}
	cfg := open(t, urlOf(t, serverURL(t), pool.Config().ConnConfig.Database, "")).Config()
	prepare := cfg.AfterConnect
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if err := prepare(ctx, conn); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, `
			load 'auto_explain';
			set auto_explain.log_min_duration = 0;
			set auto_explain.log_analyze = on;
			set auto_explain.log_timing = off;
			set auto_explain.log_buffers = on;
			set auto_explain.log_level = notice;
			set auto_explain.log_nested_statements = on;
			set plan_cache_mode = `+way+`;
			set session authorization `+RuntimeRole)
		return err
	}
	cfg.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { plans.add(n.Message) }
	explained, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(explained.Close)
	return explained, plans
}

func (p *Plans) add(notice string) {
	if _, plan, ok := strings.Cut(notice, "plan:\n"); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.all = append(p.all, plan)
	}
}

var (
	buffers = regexp.MustCompile(`\n\s*Buffers: shared ([^\n]*)`)
	pages   = regexp.MustCompile(`(?:hit|read)=(\d+)`)
)

// Pages returns how many pages the statements read since it was last called, from
// the server's memory or not.
func (p *Plans) Pages() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, plan := range p.all[p.counted:] {
		if top := buffers.FindStringSubmatch(plan); top != nil {
			for _, count := range pages.FindAllStringSubmatch(top[1], -1) {
				c, _ := strconv.Atoi(count[1]) // digits, as the pattern has it
				n += c
			}
		}
	}
	p.counted = len(p.all)
	return n
}

// growing are the steps whose cost grows with the table, and not with the rows
// that a statement is about.
var growing = regexp.MustCompile(`Seq Scan on|Hash \w* ?Join|Merge \w* ?Join|Join Filter`)

// Check fails for each plan whose cost would grow with its tables, and for each
// of the indexes that no plan uses.
func (p *Plans) Check(t testing.TB, indexes ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	all := strings.Join(p.all, "\n")
	for _, plan := range p.all {
		if step := growing.FindString(plan); step != "" {
			t.Errorf("%s in the plan of\n%s", step, plan)
		}
	}
	for _, index := range indexes {
		if !regexp.MustCompile(`(using|on|Indexes:) ` + index + `\b`).MatchString(all) {
			t.Errorf("no plan uses %s:\n%s", index, all)
		}
	}
}

const noAutovacuum = `do $$ declare name text; begin
	for name in select oid::regclass from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' loop
		execute 'alter table ' || name || ' set (autovacuum_enabled = off)';
	end loop;
end $$`

// Fill runs statements that give tables a realistic size, and brings their statistics
// up to date. It may do anything. The server does not change the statistics by itself
// later, so the plans depend on nothing but the statements.
func Fill(t testing.TB, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	admin := Admin(t, pool)
	for _, sql := range slices.Concat([]string{noAutovacuum}, statements, []string{`vacuum analyze`}) {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}
