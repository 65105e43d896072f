package audit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"
)

// Column has customers' ids.
type Column struct{ Table, Name string }

// Digests are of the ids of customers: SHA-256.
type Digests map[[sha256.Size]byte]bool

// Add adds some.
func (d Digests) Add(list [][]byte) {
	for _, digest := range list {
		d[[sha256.Size]byte(digest)] = true
	}
}

// Has reports whether a text is the id of one of them.
func (d Digests) Has(id string) bool { return d[sha256.Sum256([]byte(id))] }

// erased returns those who are erased in a service's database. One of the release before knows none.
func erased(ctx context.Context, db DB) ([][]byte, error) {
	var ready bool
	if err := db.QueryRow(ctx, `select to_regclass('erasures') is not null`).Scan(&ready); err != nil || !ready {
		return nil, err
	}
	rows, err := db.Query(ctx, `select digest from erasures where erased_at is not null`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]byte])
}

// Residue finds what a service's database still has of customers who are erased: in that
// database, or everywhere, as the given digests say. It returns who is erased here.
func (b *Books) Residue(ctx context.Context, db DB, everywhere [][]byte) (faults []Fault, here [][]byte, err error) {
	if here, err = erased(ctx, db); err != nil {
		return nil, nil, fmt.Errorf("read who is erased: %w", err)
	}
	who := Digests{}
	who.Add(here)
	who.Add(everywhere)
	if len(who) == 0 {
		return nil, nil, nil
	}
	for _, c := range b.Customers {
		found, err := residueIn(ctx, db, c, who)
		if err != nil {
			return nil, nil, fmt.Errorf("look for erased customers in %s: %w", c.Table, err)
		}
		faults = append(faults, found...)
	}
	inEvents, err := residueInEvents(ctx, db, who)
	if err != nil {
		return nil, nil, fmt.Errorf("look for erased customers in parked events: %w", err)
	}
	return append(faults, inEvents...), here, nil
}

func residueIn(ctx context.Context, db DB, c Column, who Digests) (faults []Fault, err error) {
	digests := make([][]byte, 0, len(who))
	for d := range who {
		digests = append(digests, d[:])
	}
	rows, err := db.Query(ctx, fmt.Sprintf(`select %[2]s::text, count(*) from %[1]s
		where sha256(convert_to(%[2]s::text, 'UTF8')) = any($1) group by 1 order by 1 limit 100`, c.Table, c.Name), digests)
	if err != nil {
		return nil, err
	}
	var id string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
		faults = append(faults, Fault{id, fmt.Sprintf("erased, and yet in %s: ask for the erasure again (quad erasure ask)", Plural(n, "row")+" of "+c.Table)})
		return nil
	})
	return faults, err
}

// texts are those in a payload that may be an id.
var texts = regexp.MustCompile(`"([A-Za-z0-9._-]{1,64})"`)

// residueInEvents looks into events that are parked, or that an operator gave up.
func residueInEvents(ctx context.Context, db DB, who Digests) (faults []Fault, err error) {
	rows, err := db.Query(ctx, `
		select event_id::text, 'a parked event', payload from parked
		union all select event_id::text, 'an event that was discarded', payload from parked_discards order by 1`)
	if err != nil {
		return nil, err
	}
	var event, what string
	var payload []byte
	_, err = pgx.ForEachRow(rows, []any{&event, &what, &payload}, func() error {
		for _, text := range texts.FindAllSubmatch(payload, -1) {
			if id := string(text[1]); who.Has(id) {
				faults = append(faults, Fault{id, fmt.Sprintf("erased, and yet in %s, %s: ask for the erasure again (quad erasure ask)", what, event)})
				break
			}
		}
		return nil
	})
	return faults, err
}
