package audit_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/payment"
	"quadrille.internal/services/payment/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// charge adds a payment that is tried for the third time to a new database.
func charge(t *testing.T) (*pgxpool.Pool, uuid.UUID) {
	t.Helper()
	spec, id := payment.Service(), uuid.New()
	pool := pgtest.Open(t, spec.Migrations, spec.Grants)
	servicetest.Exec(t, pool, `insert into payments (id, status, amount, currency, token, traceparent, cancelled, charge_id, refund_id,
			attempts, last_error, due_at, requested_at, version)
		values ($1, 'charging', 250, 'GBP', 'tok_flaky', '', false, '', '', 2, 'payment provider: status 500', $2, $3, 1)`,
		id, at.Add(time.Minute), at)
	return pool, id
}

func TestPayments(t *testing.T) {
	pool, id := charge(t)
	servicetest.Exec(t, pool, `update payments set charge_id = 'ch_1', refund_id = 're_1'`)
	rows, err := audit.Payments(t.Context(), pgtest.Auditor(t, pool), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got := rows.Take(id)
	if got == nil || got.DueAt == nil || !got.DueAt.Equal(at.Add(time.Minute)) || rows.Err() != nil {
		t.Fatalf("read %+v, %v", got, rows.Err())
	}
	got.DueAt = nil
	want := audit.Payment{ID: id, Status: "charging", ChargeID: "ch_1", RefundID: "re_1", Attempts: 2, LastError: "payment provider: status 500"}
	if *got != want {
		t.Errorf("read %+v, want %+v", *got, want)
	}
}

func TestStory(t *testing.T) {
	pool, id := charge(t)
	clock := at.Add(time.Minute).Local().Format("15:04:05")
	for _, c := range []struct {
		change, waits string
		happened      []string
		detail        string // of the last moment
	}{
		{`version = 2`, "the payment provider (tried 2 times, again at " + clock + "; status 500)",
			[]string{"charging", "will ask again"}, "attempt 2 failed: status 500"},
		{`attempts = 0`, "the payment provider", []string{"charging"}, "2.50 GBP"},
		{`status = 'refused', due_at = null, refused_at = '2026-01-03'`, "an operator: the payment provider refuses it (status 500)",
			[]string{"charging", "refused"}, "waits for an operator (quad payment resume): status 500"},
		{`status = 'completed', charge_id = 'ch_1', attempts = 1, completed_at = '2026-01-04'`, "the payment provider",
			[]string{"charging", "charged", "asked again"}, "1 attempt failed, the last with: status 500"},
		{`status = 'refunded', refund_id = 're_1', attempts = 0, ended_at = '2026-01-05'`, "the payment provider",
			[]string{"charging", "charged", "refunded"}, "2.50 GBP, re_1"},
		{`status = 'void', completed_at = null`, "the payment provider", []string{"charging", "void"}, "the order was cancelled, nothing was charged"},
		{`status = 'failed', reason = '{"code": "x", "message": "No."}'`, "the payment provider", []string{"charging", "declined"}, "No."},
	} {
		servicetest.Exec(t, pool, `update payments set `+c.change)
		servicetest.CheckBooks(t, pool, audit.Books, id, c.happened...)
		s := servicetest.Story(t, pool, audit.Books, id)
		if last := s.Moments[len(s.Moments)-1]; last.Detail != c.detail || s.Waits.What != c.waits {
			t.Errorf("%s: %q, waits for %q, want %q and %q", c.change, last.Detail, s.Waits.What, c.detail, c.waits)
		}
	}
	servicetest.CheckBooks(t, pool, audit.Books, uuid.New())
}

func TestBusy(t *testing.T) {
	pool, _ := charge(t)
	auditor := pgtest.Auditor(t, pool)
	for _, c := range []struct {
		change string
		want   bool
	}{
		{`version = 2`, true},
		{`status = 'unknown', due_at = null`, true},
		{`cancelled = true`, false},
		{`status = 'refused'`, false},
	} {
		servicetest.Exec(t, pool, `update payments set `+c.change)
		if busy, err := audit.Books.IsBusy(t.Context(), auditor); err != nil || busy != c.want {
			t.Errorf("%s: busy is %v, %v", c.change, busy, err)
		}
	}
}

func TestProgress(t *testing.T) {
	pool, _ := charge(t)
	servicetest.CheckProgress(t, pool, audit.Progress, 0, 1)
	servicetest.Exec(t, pool, `update payments set status = 'failed', due_at = null`)
	servicetest.CheckProgress(t, pool, audit.Progress, 0, 0)
}
