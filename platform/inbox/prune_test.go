package inbox

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
)

// idAt is an id of version 7 made at a time.
func idAt(made time.Time) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	ms := made.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // the lowest byte is meant
	}
	return id
}

// enterAt enters an id as it was handled at a time.
func enterAt(t *testing.T, pool *pgxpool.Pool, id uuid.UUID, handled time.Time) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `insert into inbox (event_id, consumer, handled_at) values ($1, 'order', $2)`, id, handled); err != nil {
		t.Fatal(err)
	}
}

// placeOf names the partition that an id is in, or "".
func placeOf(t *testing.T, pool *pgxpool.Pool, id uuid.UUID) (place string) {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select tableoid::regclass::text from inbox where event_id = $1`, id)
	if err != nil {
		t.Fatal(err)
	}
	places, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(places) > 1 {
		t.Fatalf("%s is in %v, %v", id, places, err)
	}
	return strings.Join(places, "")
}

// today is now, on a day that does not end within a test.
func today(t *testing.T) time.Time {
	t.Helper()
	now := time.Now().UTC()
	if left := now.Truncate(24*time.Hour).AddDate(0, 0, 1).Sub(now); left < 3*time.Minute {
		t.Logf("the day ends in %v", left)
		<-time.After(left)
	}
	return time.Now()
}

func partition(made time.Time) string { return "inbox_" + made.UTC().Format("20060102") }

func addDay(t *testing.T, pool *pgxpool.Pool, made time.Time) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `select inbox_add_day($1)`, made.UTC()); err != nil {
		t.Fatal(err)
	}
}

// handle enters ids as the inbox does.
func handle(t *testing.T, pool *pgxpool.Pool, ids ...uuid.UUID) (fresh int) {
	t.Helper()
	err := pgtx.RunPiped(t.Context(), pool, func(ctx context.Context, tx *pgtx.Tx) error {
		tag, err := tx.Exec(ctx, insertRows, ids, "order")
		fresh = int(tag.RowsAffected())
		noteLate(tx, ids, time.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fresh
}

func TestPruneForgetsOnlyWhatIsOld(t *testing.T) {
	now := today(t)
	pool := pgtest.Open(t, pgtest.None)
	ago := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	for _, days := range []int{40, 30, 29, 25, 20, 18, 17} {
		addDay(t, pool, ago(days))
	}
	old := []uuid.UUID{idAt(ago(40)), idAt(ago(29)), uuid.New()}
	for i, handled := range []int{40, 28, 16} {
		enterAt(t, pool, old[i], ago(handled))
	}
	keep := map[uuid.UUID]string{
		idAt(now):     "new",
		idAt(ago(17)): "handled late, within the retention",
		idAt(ago(30)): "old, but replayed just now",
		idAt(ago(25)): "old, but replayed within the retention",
		uuid.New():    "not of version 7",
	}
	for id, why := range keep {
		switch {
		case strings.HasSuffix(why, "within the retention"):
			enterAt(t, pool, id, ago(14))
			if _, err := pool.Exec(t.Context(), `insert into inbox_late (day, handled_at) values ($1, $2)`, madeAt(id).UTC(), ago(14)); err != nil {
				t.Fatal(err)
			}
		default:
			if handle(t, pool, id) != 1 {
				t.Errorf("the id that is %s was there", why)
			}
		}
	}
	for range 2 {
		if err := prune(t.Context(), pool, now); err != nil {
			t.Fatal(err)
		}
	}
	for id, why := range keep {
		if placeOf(t, pool, id) == "" {
			t.Errorf("the id that is %s was forgotten", why)
		}
		if handle(t, pool, id) != 0 {
			t.Errorf("the id that is %s would have its effect again", why)
		}
	}
	for i, id := range old {
		if place := placeOf(t, pool, id); place != "" {
			t.Errorf("old id %d is still in %s", i, place)
		}
	}
	for _, gone := range []int{40, 29, 20} {
		var there bool
		if err := pool.QueryRow(t.Context(), `select to_regclass($1) is not null`, partition(ago(gone))).Scan(&there); err != nil || there {
			t.Errorf("the partition of %d days ago is there: %v, %v", gone, there, err)
		}
	}
}

// Ids of days that have no partition yet are found again once it is made.
func TestDaysAreMadeAhead(t *testing.T) {
	now := today(t)
	pool := pgtest.Open(t, pgtest.None)
	tomorrow, far := idAt(now.AddDate(0, 0, 1)), idAt(now.AddDate(0, 0, 10))
	if handle(t, pool, idAt(now), tomorrow, far, uuid.New()) != 4 {
		t.Fatal("not all were new")
	}
	if a, b := placeOf(t, pool, tomorrow), placeOf(t, pool, far); a != partition(madeAt(tomorrow)) || b != "inbox_default" {
		t.Errorf("they are in %s and %s", a, b)
	}
	if err := prune(t.Context(), pool, now.AddDate(0, 0, 5)); err != nil { // five days later
		t.Fatal(err)
	}
	if place := placeOf(t, pool, far); place != partition(madeAt(far)) {
		t.Errorf("it is in %s", place)
	}
	if handle(t, pool, far, tomorrow) != 0 {
		t.Error("they would have their effects again")
	}
	if _, err := pool.Exec(t.Context(), `select inbox_add_day(current_date + 1000)`); err == nil {
		t.Error("a partition of the far future was made")
	}
	if _, err := pool.Exec(t.Context(), `drop table `+partition(now)); err == nil {
		t.Error("the service's role may drop a partition")
	}
}

// Replicas prune while events are handled; all of these are entered once.
func TestPruneWhileEventsAreHandled(t *testing.T) {
	now := today(t)
	pool := pgtest.Open(t, pgtest.None)
	for days := 20; days < 50; days++ {
		addDay(t, pool, now.AddDate(0, 0, -days))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var replicas sync.WaitGroup
	for n := range 3 {
		replicas.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_ = prune(ctx, pool, now.AddDate(0, 0, (n+i)%8)) // it may have to wait too long
			}
		})
	}
	for range 100 {
		ids := []uuid.UUID{idAt(now), idAt(now.AddDate(0, 0, 1)), idAt(now.AddDate(0, 0, 12)), uuid.New()}
		if handle(t, pool, ids...) != len(ids) || handle(t, pool, ids...) != 0 {
			t.Error("not each id was entered once")
		}
	}
	cancel()
	replicas.Wait()
	if err := prune(t.Context(), pool, now); err != nil {
		t.Error(err)
	}
	var left int
	if err := pool.QueryRow(t.Context(), `select count(*) from pg_inherits where inhparent = 'inbox'::regclass`).Scan(&left); err != nil || left > 60 {
		t.Errorf("%d partitions are left, %v", left, err)
	}
}

// The migration keeps what was handled before it, and can be taken back.
func TestTheMigrationKeepsWhatWasHandled(t *testing.T) {
	now := today(t)
	pool := pgtest.Open(t, pgtest.None)
	owner := pgtest.Owner(t, pool)
	text, err := os.ReadFile("../schema/migrations/00007_inbox_by_day.sql")
	if err != nil {
		t.Fatal(err)
	}
	up, down, _ := strings.Cut(string(text), "-- +goose Down")
	ids := []uuid.UUID{idAt(now), idAt(now.AddDate(0, 0, -10)), idAt(now.AddDate(0, 0, -100)), uuid.New()}
	for step, sql := range []string{
		fmt.Sprintf(`insert into inbox (event_id, consumer) select unnest('{%s,%s,%s,%s}'::uuid[]), 'order'`, ids[0], ids[1], ids[2], ids[3]),
		down, up, down, up,
	} {
		if _, err := owner.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		for _, id := range ids {
			var n int
			if err := owner.QueryRow(t.Context(), `select count(*) from inbox where event_id = $1`, id).Scan(&n); err != nil || n != 1 {
				t.Fatalf("step %d: %s is there %d times, %v", step, id, n, err)
			}
		}
	}
	var place string
	if err := owner.QueryRow(t.Context(), `select tableoid::regclass from inbox where event_id = $1`, ids[1]).Scan(&place); err != nil || place != partition(madeAt(ids[1])) {
		t.Errorf("it is in %s, %v", place, err)
	}
}

// A day that has no partition yet gets one while its ids keep coming in.
func TestADayIsMadeWhileItsEventsComeIn(t *testing.T) {
	now := today(t)
	pool := pgtest.Open(t, pgtest.None)
	if _, err := pgtest.Owner(t, pool).Exec(t.Context(), `drop table `+partition(now)); err != nil {
		t.Fatal(err)
	}
	ids := make(chan uuid.UUID, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var replicas sync.WaitGroup
	for range 3 {
		replicas.Go(func() {
			for ctx.Err() == nil {
				some := []uuid.UUID{idAt(now), idAt(now), idAt(now)}
				if handle(t, pool, some...) != len(some) {
					t.Error("not each id was entered")
				}
				select {
				case ids <- some[0]:
				default:
				}
			}
		})
	}
	first := <-ids
	err := prune(t.Context(), pool, now)
	for until := time.Now().Add(time.Minute); err != nil && time.Now().Before(until); { // it may have to wait too long
		err = prune(t.Context(), pool, now)
	}
	cancel()
	replicas.Wait()
	if err != nil {
		t.Error(err)
	}
	if place := placeOf(t, pool, first); place != partition(now) {
		t.Errorf("the first id is in %s", place)
	}
}

// While no partition can be made, old rows are forgotten all the same.
func TestPruneGoesOnAfterAFailure(t *testing.T) {
	now := today(t)
	pool := pgtest.Open(t, pgtest.None)
	owner := pgtest.Owner(t, pool)
	old := uuid.New()
	enterAt(t, pool, old, now.AddDate(0, 0, -16))
	if _, err := owner.Exec(t.Context(), `drop table `+partition(now)); err != nil {
		t.Fatal(err)
	}
	tx, err := owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `lock table inbox_default in row exclusive mode`); err != nil {
		t.Fatal(err)
	}
	if err := prune(t.Context(), pool, now); err == nil {
		t.Error("prune = nil, though the default partition is locked")
	}
	if place := placeOf(t, pool, old); place != "" {
		t.Errorf("the old id is still in %s", place)
	}
}
