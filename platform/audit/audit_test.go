package audit_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
	"quadrille.internal/platform/pgtest"
)

// parcels is a service with one table.
var parcels = fstest.MapFS{"migrations/00001_parcels.sql": {Data: []byte(`-- +goose Up
create table parcels (id uuid primary key, weight bigint not null, packed_at timestamptz not null);
`)}}

var books = audit.Books{
	Busy: `select exists (select from parcels where weight = 0)`,
	Story: audit.MomentsOf(`select packed_at as at, 'packed' as what, weight || ' g' as detail, weight > 9 as bad
		from parcels where id = $1`),
	Rules: []audit.Rule{{
		Name: "no parcel is heavy", Unit: "parcels", Count: `select count(*) from parcels`,
		Faults: `select id::text, weight || ' g' from parcels where weight > 9 order by id`,
	}},
}

type parcel struct {
	ID     uuid.UUID
	Weight int64
}

func readParcels(t *testing.T, db audit.DB, ids ...uuid.UUID) *audit.Rows[parcel] {
	t.Helper()
	rows, err := audit.Read(t.Context(), db, `select id, weight from parcels`+audit.ByID, ids, func(p *parcel) uuid.UUID { return p.ID })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rows.Close)
	return rows
}

// open returns the database of the service, as the service and as the auditor.
func open(t *testing.T) (service, auditor *pgxpool.Pool) {
	service = pgtest.Open(t, parcels)
	return service, pgtest.Auditor(t, service)
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func number(n byte) uuid.UUID { return uuid.UUID{15: n} }

func TestRowsComeByID(t *testing.T) {
	service, auditor := open(t)
	exec(t, service, `insert into parcels (id, weight, packed_at) values ($1, 3, now()), ($2, 1, now()), ($3, 2, now())`, number(3), number(1), number(2))
	rows := readParcels(t, auditor)
	if rows.Take(number(2)) != nil {
		t.Error("a row was taken before its turn")
	}
	var weights []int64
	for id := rows.Head(); id != nil; id = rows.Head() {
		weights = append(weights, rows.Take(*id).Weight)
	}
	if !slices.Equal(weights, []int64{1, 2, 3}) || rows.Err() != nil {
		t.Errorf("read %v, %v", weights, rows.Err())
	}
	some := readParcels(t, auditor, number(2), number(9))
	if p := some.Take(number(2)); p == nil || p.Weight != 2 || some.Head() != nil {
		t.Errorf("of two ids, read %+v and then %v", p, some.Head())
	}
	if none := new(audit.Rows[parcel]); none.Head() != nil || none.Take(number(1)) != nil || none.Err() != nil {
		t.Error("the zero Rows are not empty")
	}
}

// A row that cannot be read ends the rows with an error, and not as if it were the last.
func TestRowsEndWithTheirError(t *testing.T) {
	service, auditor := open(t)
	exec(t, service, `insert into parcels (id, weight, packed_at) values ($1, 1, now()), ($2, 2, now())`, number(1), number(2))
	rows, err := audit.Read(t.Context(), auditor, `select id, case when weight = 1 then 1 end from parcels`+audit.ByID, nil,
		func(p *parcel) uuid.UUID { return p.ID })
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if rows.Take(number(1)) == nil || rows.Err() == nil || rows.Head() != nil {
		t.Errorf("after a row with null: %v, next %v", rows.Err(), rows.Head())
	}
}

func TestAuditorsChangeNothing(t *testing.T) {
	_, auditor := open(t)
	if _, err := auditor.Exec(t.Context(), `delete from parcels`); err == nil {
		t.Error("an auditor deleted rows")
	}
	if _, err := auditor.Exec(t.Context(), `begin read write; delete from parcels; commit`); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("an auditor that wants to write: %v", err)
	}
}

func TestBooksAreHeldAgainstTheirRules(t *testing.T) {
	service, auditor := open(t)
	exec(t, service, `insert into parcels (id, weight, packed_at) values ($1, 9, now()), ($2, 10, now())`, number(1), number(2))
	checks, err := books.Check(t.Context(), auditor)
	want := []audit.Check{{Name: "no parcel is heavy", Unit: "parcels", Checked: 2, Faults: []audit.Fault{{number(2).String(), "10 g"}}}}
	if err != nil || !reflect.DeepEqual(checks, want) {
		t.Errorf("checks %+v, %v\nwant %+v", checks, err, want)
	}
	if none, err := new(audit.Books).Check(t.Context(), auditor); err != nil || len(none) > 0 {
		t.Errorf("books without rules: %+v, %v", none, err)
	}
	exec(t, pgtest.Owner(t, service), `alter table parcels rename column weight to grams`)
	if _, err := books.Check(t.Context(), auditor); err == nil || !strings.Contains(err.Error(), `"no parcel is heavy"`) {
		t.Errorf("a rule about a column that is gone: %v", err)
	}
}

func TestAnOrdersStory(t *testing.T) {
	service, auditor := open(t)
	at := time.Date(2026, 6, 15, 9, 30, 0, 0, time.UTC)
	exec(t, service, `insert into parcels (id, weight, packed_at) values ($1, 10, $2)`, number(1), at)
	story, err := books.Story(t.Context(), auditor, number(1))
	if err != nil || story == nil || len(story.Moments) != 1 {
		t.Fatalf("story %+v, %v", story, err)
	}
	if m := story.Moments[0]; !m.At.Equal(at) || m.What != "packed" || m.Detail != "10 g" || !m.Bad {
		t.Errorf("moment %+v", m)
	}
	if story, err := books.Story(t.Context(), auditor, number(2)); err != nil || story != nil {
		t.Errorf("of another order: %+v, %v", story, err)
	}
}

func TestBooksAreBusy(t *testing.T) {
	service, auditor := open(t)
	for _, c := range []struct {
		name, change string
		want         bool
	}{
		{"at rest", `select 1`, false},
		{"with work", `insert into parcels (id, weight, packed_at) values (gen_random_uuid(), 0, now())`, true},
		{"at rest again", `delete from parcels`, false},
		{"with an event", `insert into outbox (id, topic, key, payload, leased_until) values (gen_random_uuid(), 't', 'k', '', now())`, true},
	} {
		exec(t, service, c.change)
		if busy, err := books.IsBusy(t.Context(), auditor); err != nil || busy != c.want {
			t.Errorf("%s: busy is %v, %v", c.name, busy, err)
		}
	}
}

func TestEventsThatStay(t *testing.T) {
	service, auditor := open(t)
	exec(t, service, `insert into outbox (id, topic, key, payload, leased_until) values ($1, 'parcel.packed', 'k1', '', now())`, number(1))
	exec(t, service, `insert into parked (consumer, event_id, topic, cause, attempts, traceparent, payload, tried_at)
		values ('parcels', $1, 'order.confirmed', E'no such order\nat line 1', 3, '', convert_to($2, 'UTF8'), now())`,
		number(2), `{"subject":"`+number(7).String()+`"}`)
	left, err := audit.Unpublished(t.Context(), auditor)
	if err != nil || !slices.Equal(left, []audit.Event{{number(1), "parcel.packed of k1"}}) {
		t.Errorf("unpublished %v, %v", left, err)
	}
	if left, err := audit.StillUnpublished(t.Context(), auditor, []uuid.UUID{number(1), number(3)}); err != nil || len(left) != 1 {
		t.Errorf("still unpublished %v, %v", left, err)
	}
	parked, err := audit.Parked(t.Context(), auditor)
	if err != nil || !slices.Equal(parked, []audit.Event{{number(2), "order.confirmed: no such order"}}) {
		t.Errorf("parked %v, %v", parked, err)
	}
	moments, err := audit.ParkedOf(t.Context(), auditor, number(7))
	if err != nil || len(moments) != 1 || moments[0].By != "parcels" || moments[0].What != "order.confirmed PARKED" || !moments[0].Bad {
		t.Errorf("parked of the order %+v, %v", moments, err)
	}
	if others, err := audit.ParkedOf(t.Context(), auditor, number(8)); err != nil || len(others) > 0 {
		t.Errorf("parked of another order %+v, %v", others, err)
	}
}

func TestWords(t *testing.T) {
	for want, m := range map[string]events.Money{
		"2.50 GBP": {Amount: 250, Currency: "GBP"}, "0.05 GBP": {Amount: 5, Currency: "GBP"}, "0.00 EUR": {Currency: "EUR"},
		"250 JPY": {Amount: 250, Currency: "JPY"}, "1.234 KWD": {Amount: 1234, Currency: "KWD"},
	} {
		if got := audit.Money(m); got != want {
			t.Errorf("%+v is written %q, want %q", m, got, want)
		}
	}
	var many []events.Allocation
	for range 6 {
		many = append(many, events.Allocation{SKU: "A", Warehouse: "leeds", Quantity: 2})
	}
	if got, want := audit.Places(many), strings.Repeat("2 A in leeds, ", 4)+"2 more"; got != want {
		t.Errorf("places are %q, want %q", got, want)
	}
}
