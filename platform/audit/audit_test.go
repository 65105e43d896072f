package audit_test

import (
	"reflect"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/platform/audit"
	"quadrille.internal/platform/pgtest"
)

var (
	id = uuid.MustParse("00000000-0000-7000-8000-000000000001")
	at = time.Date(2026, 6, 15, 9, 30, 0, 0, time.UTC)
)

func TestViewsAreRead(t *testing.T) {
	pool := pgtest.Open(t, fstest.MapFS{"migrations/00001_audit.sql": {Data: []byte(`-- +goose Up
create view audit_moments as
	select '00000000-0000-7000-8000-000000000001'::uuid as order_id, at, what, '' as detail, what = 'lost' as bad
	from (values ('2026-06-15 09:30:01Z'::timestamptz, 'lost'), ('2026-06-15 09:30:00Z', 'packed')) m (at, what);
create view audit_checks as select * from (values ('a', 'parcels', 2::bigint), ('b', 'parcels', 3)) c (name, unit, checked);
create view audit_faults as select * from (values ('b', '7', 'late'), ('b', '8', 'lost')) f (name, id, problem);
`)}})
	moments, err := audit.Moments(t.Context(), pool, id)
	want := []audit.Moment{{At: at, What: "packed"}, {At: at.Add(time.Second), What: "lost", Bad: true}}
	for i := range moments {
		moments[i].At = moments[i].At.UTC()
	}
	if err != nil || !reflect.DeepEqual(moments, want) {
		t.Errorf("moments %+v, %v\nwant %+v", moments, err, want)
	}
	if others, err := audit.Moments(t.Context(), pool, uuid.New()); err != nil || len(others) > 0 {
		t.Errorf("another order has %+v, %v", others, err)
	}
	checks, err := audit.Checks(t.Context(), pool)
	wantChecks := []audit.Check{
		{Name: "a", Unit: "parcels", Checked: 2},
		{Name: "b", Unit: "parcels", Checked: 3, Faults: []audit.Fault{{"7", "late"}, {"8", "lost"}}},
	}
	if err != nil || !reflect.DeepEqual(checks, wantChecks) {
		t.Errorf("checks %+v, %v\nwant %+v", checks, err, wantChecks)
	}
}

func TestAServiceMayHaveNoViews(t *testing.T) {
	pool := pgtest.Open(t, pgtest.None)
	moments, err := audit.Moments(t.Context(), pool, id)
	if err != nil || len(moments) > 0 {
		t.Errorf("moments %+v, %v", moments, err)
	}
	if checks, err := audit.Checks(t.Context(), pool); err != nil || len(checks) > 0 {
		t.Errorf("checks %+v, %v", checks, err)
	}
}
