package inbox

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/pgtest"
)

func TestPruneForgetsOnlyWhatIsOld(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	now := time.Now()
	before := now.Add(-retention)
	enter := func(made, handled time.Time) uuid.UUID {
		id := lowestV7(made)
		copy(id[9:], rand.Text())
		if _, err := pool.Exec(t.Context(), `insert into inbox values ($1, 'order', $2)`, id, handled); err != nil {
			t.Fatal(err)
		}
		return id
	}
	enter(before.Add(-time.Hour), before.Add(-time.Minute))
	enter(before.Add(-2*time.Hour), before.Add(-time.Hour))
	enter(before.Add(-3*time.Hour), before.Add(-2*time.Hour))
	keep := map[uuid.UUID]string{
		enter(now, now):                           "new",
		enter(before.Add(time.Minute), now):       "just within the retention",
		enter(before.Add(-time.Hour), now):        "old, but replayed lately",
		enter(now, before.Add(-24*365*time.Hour)): "made by a clock that is ahead",
	}
	for _, want := range []int64{2, 1, 0} {
		n, err := prune(t.Context(), pool, before, 2)
		if err != nil || n != want {
			t.Errorf("pruned %d, %v, want %d", n, err, want)
		}
	}
	for id, why := range keep {
		var there bool
		if err := pool.QueryRow(t.Context(), `select exists (select from inbox where event_id = $1)`, id).Scan(&there); err != nil {
			t.Fatal(err)
		}
		if !there {
			t.Errorf("the id that is %s was forgotten", why)
		}
	}
}

func TestLowestV7(t *testing.T) {
	made := time.Now()
	id := lowestV7(made)
	if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
		t.Errorf("%s is of version %d and variant %s", id, id.Version(), id.Variant())
	}
	if sec, nsec := id.Time().UnixTime(); sec*1000+nsec/1e6 != made.UnixMilli() {
		t.Errorf("%s carries another time than %v", id, made)
	}
	if later := uuid.Must(uuid.NewV7()); bytes.Compare(id[:], later[:]) >= 0 {
		t.Errorf("%s is not below %s", id, later)
	}
}
