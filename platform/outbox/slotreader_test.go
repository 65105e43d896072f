package outbox_test

import (
	"context"
	"encoding/binary"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/audit"
	"quadrille.internal/platform/pgtest"
)

// slotReader stands for Debezium: it reads the slot as a subscriber does, and confirms
// what it has read.
type slotReader struct {
	t     *testing.T
	admin *pgx.Conn
	slot  string
	stop  func()

	mu    sync.Mutex
	seen  map[string]int // events, by id
	holds bool           // confirms nothing
}

// openSlot makes a slot in the database of pool, where the server can. Nobody reads it yet.
func openSlot(t *testing.T, pool *pgxpool.Pool) *slotReader {
	t.Helper()
	var level string
	if err := pool.QueryRow(t.Context(), `show wal_level`).Scan(&level); err != nil {
		t.Fatal(err)
	}
	if level != "logical" {
		t.Skipf("NOT TESTED: replication slots, as wal_level of QUADRILLE_TEST_POSTGRES is %s; quad test starts a server with logical", level)
	}
	r := &slotReader{
		t: t, admin: pgtest.Admin(t, pool), slot: audit.SlotPrefix + pool.Config().ConnConfig.Database,
		stop: func() {}, seen: map[string]int{},
	}
	r.create()
	t.Cleanup(func() { r.detach(); r.drop() })
	return r
}

func (r *slotReader) exec(sql string, args ...any) {
	r.t.Helper()
	if _, err := r.admin.Exec(context.Background(), sql, args...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *slotReader) create() {
	r.t.Helper()
	r.exec(`select pg_create_logical_replication_slot($1, 'pgoutput')`, r.slot)
}

func (r *slotReader) drop() {
	r.t.Helper()
	r.exec(`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1`, r.slot)
}

// hold has the reader confirm nothing, or go on.
func (r *slotReader) hold(holds bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds = holds
}

func (r *slotReader) distinct() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

// attach begins to read.
func (r *slotReader) attach() {
	r.t.Helper()
	cfg := r.admin.Config().Config.Copy()
	cfg.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(context.Background(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	conn.Frontend().Send(&pgproto3.Query{String: `START_REPLICATION SLOT "` + r.slot +
		`" LOGICAL 0/0 (proto_version '1', publication_names 'outbox', messages 'true')`})
	if err := conn.Frontend().Flush(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); r.read(conn) }()
	r.stop = sync.OnceFunc(func() {
		_ = conn.Conn().Close() // as if it were killed
		<-ended
		eventually(r.t, "the slot is let go", func() bool { return !r.active() })
	})
	eventually(r.t, "the slot is read", r.active)
}

func (r *slotReader) active() (is bool) {
	r.t.Helper()
	const sql = `select exists (select from pg_replication_slots where slot_name = $1 and active)`
	if err := r.admin.QueryRow(context.Background(), sql, r.slot).Scan(&is); err != nil {
		r.t.Fatal(err)
	}
	return is
}

// detach ends the reading.
func (r *slotReader) detach() { r.stop() }

var eventID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

// read takes what comes until the connection ends.
func (r *slotReader) read(conn *pgconn.PgConn) {
	var end uint64 // of what was read
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		m, err := conn.ReceiveMessage(ctx)
		cancel()
		if err != nil && !pgconn.Timeout(err) {
			return
		}
		if data, ok := m.(*pgproto3.CopyData); ok && data.Data[0] == 'w' {
			end = r.take(data.Data[25:], end)
			continue
		}
		if !r.confirm(conn, end) {
			return
		}
	}
}

// take notes a change and returns up to where has been read.
func (r *slotReader) take(change []byte, end uint64) uint64 {
	switch change[0] {
	case 'I':
		r.mu.Lock()
		r.seen[eventID.FindString(string(change))]++
		r.mu.Unlock()
	case 'C':
		end = binary.BigEndian.Uint64(change[10:])
	case 'U', 'D', 'T':
		r.t.Errorf("the publication shows more than new rows: %q", change)
	}
	return end
}

func (r *slotReader) confirm(conn *pgconn.PgConn, end uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holds || end == 0 {
		return true
	}
	status := []byte{'r'}
	for range 3 { // written, flushed, applied
		status = binary.BigEndian.AppendUint64(status, end)
	}
	status = append(binary.BigEndian.AppendUint64(status, 0), 0)
	conn.Frontend().Send(&pgproto3.CopyData{Data: status})
	return conn.Frontend().Flush() == nil
}
