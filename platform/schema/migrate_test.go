package schema_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"quadrille.internal/platform/schema"
)

// Whatever limits the database has for its clients, a migration takes as long as it
// takes, and is planned as if there were no services.
func TestAMigrationHasNoneOfTheLimitsOfServices(t *testing.T) {
	d := newDatabase(t)
	d.exec(d.connect(d.Superuser), `do $$ begin
		execute format('alter database %I set statement_timeout = ''100ms''', current_database());
		execute format('alter database %I set enable_seqscan = off', current_database());
		execute format('alter database %I set enable_hashjoin = off', current_database());
	end $$`)
	d.migrate(migrations(`
		create table big as select i from generate_series(1, 1000) i;
		create index big_i on big (i);
		select pg_sleep(0.3);
		create table planned as select current_setting('enable_seqscan') || current_setting('enable_hashjoin')
			|| current_setting('statement_timeout') as by;`))
	var by string
	if err := d.pool(d.Owner).QueryRow(t.Context(), `select by from planned`).Scan(&by); err != nil || by != "onon0" {
		t.Errorf("planned by %q, %v", by, err)
	}
}

// Commands that run at the same time migrate once between them, and running again
// changes nothing, quickly.
func TestCommandsMigrateOnce(t *testing.T) {
	d := newDatabase(t)
	own := migrations("create table stock (sku text primary key); insert into stock (sku) values ('a');",
		"-- waits for all transactions\ncreate index concurrently if not exists stock_sku on stock (sku);", "select pg_sleep(0.2);")
	var commands sync.WaitGroup
	for range 4 {
		commands.Go(func() {
			if err := schema.Migrate(t.Context(), d.options(own)); err != nil {
				t.Error(err)
			}
		})
	}
	commands.Wait()
	began := time.Now()
	d.migrate(own)
	t.Logf("nothing to do: %s", time.Since(began))
	conn := d.connect(d.Runtime)
	for table, want := range map[string]int{"outbox": 0, "inbox": 0, "parked": 0, "stock": 1} {
		var rows int
		if err := conn.QueryRow(t.Context(), `select count(*) from `+table).Scan(&rows); err != nil || rows != want {
			t.Errorf("table %s has %d rows, %v, want %d", table, rows, err, want)
		}
	}
}

func TestABrokenMigrationIsNamedAndLeavesNothing(t *testing.T) {
	d := newDatabase(t)
	err := schema.Migrate(t.Context(), d.options(migrations("create table half (); create tabel typo ();")))
	if err == nil || !strings.Contains(err.Error(), "migrate service tables") || !strings.Contains(err.Error(), "00001_test.sql") {
		t.Errorf("Migrate = %v", err)
	}
	if _, err := d.connect(d.Owner).Exec(t.Context(), `select from half`); err == nil {
		t.Error("half of the migration stays")
	}
	if err := schema.Migrate(t.Context(), d.options(migrations("create table half ();"))); err != nil {
		t.Errorf("once mended: %v", err)
	}
}

// A migration that waited for a long transaction would stop all traffic behind it.
// So it gives up its place again and again, and gets through when the transaction ends.
func TestAMigrationGivesWayToTraffic(t *testing.T) {
	d := newDatabase(t)
	first := "create table orders (id int primary key, note text);"
	d.migrate(migrations(first))
	reader := d.connect(d.Runtime)
	d.exec(reader, `begin; select count(*) from orders`) // a report, a dump
	ended := make(chan error, 1)
	go func() {
		ended <- schema.Migrate(context.Background(), d.options(migrations(first, "alter table orders add paid text;")))
	}()
	eventually(t, "it does not get its lock", func() bool { return d.log.has("a lock is taken, trying again") })
	traffic := d.pool(d.Runtime)
	for id := range 20 {
		// It does not wait until the reader ends.
		if _, err := traffic.Exec(t.Context(), `insert into orders (id) values ($1)`, id); err != nil {
			t.Fatalf("traffic beside the migration: %v", err)
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("ended while the lock was held: %v", err)
	default:
	}
	d.exec(reader, `commit`)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	d.exec(reader, `select paid from orders`)
}

func TestALockThatIsNeverGotEndsTheCommand(t *testing.T) {
	d := newDatabase(t)
	first := "create table orders (id int);"
	d.migrate(migrations(first))
	d.exec(d.connect(d.Runtime), `begin; select count(*) from orders`)
	o := d.options(migrations(first, "drop table orders;"))
	o.LockWait = time.Millisecond
	if err := schema.Migrate(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no lock within") || state(err) != "55P03" {
		t.Errorf("Migrate = %v", err)
	}
}

// An index that was left unfinished, or finished without being recorded, is built or
// taken as it is.
func TestAnIndexThatWasInterruptedIsRepaired(t *testing.T) {
	first := "create table big as select i % 10 as i from generate_series(1, 100) i;"
	build := "-- concurrently\ncreate index concurrently if not exists big_i on big (i);"
	for name, before := range map[string]string{
		"unfinished": `create index big_i on big (i); update pg_index set indisvalid = false where indexrelid = 'big_i'::regclass`,
		"finished":   `create index big_i on big (i)`,
		"none":       `select 1`,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase(t)
			d.migrate(migrations(first))
			d.exec(d.connect(d.Superuser), before+`; do $$ begin
				if to_regclass('big_i') is not null then alter index big_i owner to `+ownerOf(d)+`; end if; end $$`)
			d.migrate(migrations(first, build))
			var valid bool
			err := d.connect(d.Owner).QueryRow(t.Context(), `select indisvalid from pg_index where indexrelid = 'big_i'::regclass`).Scan(&valid)
			if err != nil || !valid {
				t.Errorf("valid = %v, %v", valid, err)
			}
			if dropped := d.log.has("an earlier run left unfinished"); dropped != (name == "unfinished") {
				t.Errorf("dropped = %v", dropped)
			}
		})
	}
}

func ownerOf(d *database) string { return d.connect(d.Owner).Config().User }

// A command that is stopped in the middle of a long statement ends it, and leaves no
// lock that the next one would wait for.
func TestAStoppedCommandLeavesNoLock(t *testing.T) {
	d := newDatabase(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- schema.Migrate(ctx, d.options(migrations("select pg_sleep(600);"))) }()
	eventually(t, "it is logged what takes long", func() bool { return d.log.has("still applying migration") })
	cancel()
	if err := <-ended; err == nil {
		t.Error("Migrate = nil")
	}
	d.migrate(migrations("select 1;"))
}
