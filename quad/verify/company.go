package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/quad/provider"
	"quadrille.internal/workflows/b2b/chain"
)

// companyRow is a company's order with its approval gate.
type companyRow struct {
	ID         uuid.UUID
	Status     string
	Reason     string
	Credit     string
	Amount     int64
	Currency   string
	ERPOrderID string
	Units      int64 // allocated
	Ended      bool
	MovedAt    time.Time
	Gate       string // "" where no approval was asked for
	Need       int
	ExpireAt   *time.Time
	Decisions  []chain.Decision
	// What approvers decided on, beside ID, Amount and Currency.
	CompanyID      string
	OrderedBy      string
	AllowBackorder bool
	Lines          []events.Line
	RequestHash    string
	// The key that seals decisions.
	InnerPad, OuterPad []byte
	KeySince           time.Time
}

const companyOrdersSQL = `
	select id, status, reason, credit, amount, currency, erp_order_id, units, ended, moved_at, state, need, expire_at, decisions,
		company_id, ordered_by, allow_backorder, lines, request_hash, inner_pad, outer_pad, since
	from (
		select o.id, o.status, coalesce(o.reason ->> 'message', '') as reason, o.credit, o.amount, o.currency, o.erp_order_id,
			coalesce((select sum((a ->> 'quantity')::bigint) from jsonb_array_elements(nullif(o.allocations, 'null')) a), 0)::bigint as units,
			o.ended_at is not null as ended, o.moved_at, coalesce(g.state, '') as state, coalesce(g.need, 0) as need, g.expire_at,
			coalesce((
				select jsonb_agg(jsonb_build_object(
					'order_id', d.order_id, 'seq', d.seq, 'approver', d.approver, 'on_behalf_of', d.on_behalf_of,
					'verdict', d.verdict, 'reason', d.reason, 'order_hash', d.order_hash, 'source', d.source,
					'decided_at', d.decided_at, 'prev_hash', d.prev_hash, 'hash', d.hash,
					'recorded_at', d.recorded_at, 'mac', d.mac) order by d.seq)
				from decisions d where d.order_id = o.id), '[]') as decisions,
			o.company_id, o.ordered_by, o.allow_backorder, o.lines, o.request_hash,
			coalesce(k.inner_pad, '') as inner_pad, coalesce(k.outer_pad, '') as outer_pad, coalesce(k.since, 'epoch') as since
		from orders o left join gates g on g.id = o.id left join decision_key k on true) as o` + only

func openCompanies(ctx context.Context, pool *pgxpool.Pool, ids []uuid.UUID) (*book[companyRow], error) {
	if pool == nil {
		return &book[companyRow]{}, nil
	}
	return open(ctx, pool, companyOrdersSQL, ids, func(r *companyRow) uuid.UUID { return r.ID })
}

// b2bBusySQL asks for orders that move by themselves: not those that wait for a
// person.
const b2bBusySQL = `
	select exists (select from orders o where ended_at is null and status <> 'compensation_failed'
			and not exists (select from gates g where g.id = o.id and g.state = 'open'))
		or exists (select from outbox)`

func isCompanys(f *file) bool { return f.company != nil }

var companyRules = []rule{
	{"credit follows the company's order", isCompanys, "company orders", creditDiffers},
	{"company stock follows the order", isCompanys, "company orders", companyStockDiffers},
	{"one ERP order if completed, none open if not", isCompanys, "company orders", erpDiffers},
	{"no ERP order without an order", func(f *file) bool { return len(f.erp) > 0 }, "ERP orders", erpAstray},
	{"approvals are whole and as the policy wants", isCompanys, "company orders", decisionsDiffer},
	{"no company order is forgotten", isCompanys, "company orders", companyForgotten},
}

// footing is what goes with a status of a company's order.
type footing struct {
	credit, stock []string
	gate          []string
	erp           string // open: one and no other; none: none that is open; any: one at most
}

var (
	beforeGate = footing{[]string{"", "held"}, []string{"none"}, []string{""}, "none"}
	undone     = footing{[]string{"", "released"}, []string{"none", "released", "refused"}, nil, "none"}
	footings   = map[string]footing{
		"submitted":         beforeGate,
		"awaiting_approval": {[]string{"held"}, []string{"none"}, []string{"open", "approved", "rejected", "expired", "cancelled"}, "none"},
		"approved":          {[]string{"held"}, []string{"none", "held", "refused"}, []string{"", "approved"}, "none"},
		"allocated":         {[]string{"held"}, []string{"held"}, []string{"", "approved"}, "any"},
		"synced":            {[]string{"held"}, []string{"held"}, []string{"", "approved"}, "open"},
		// While they are undone, and when that fails, things are in between.
		"undoing":             {[]string{"", "held", "released"}, []string{"none", "held", "released", "refused"}, nil, "any"},
		"compensation_failed": {[]string{"", "held", "released"}, []string{"none", "held", "released", "refused"}, nil, "any"},
		"completed":           {[]string{"used"}, []string{"shipped"}, []string{"", "approved"}, "open"},
		"rejected":            undone,
		"cancelled":           undone,
		"failed":              undone,
	}
)

func creditDiffers(f *file, _ time.Time) string {
	o := f.company
	if slices.Contains(footings[o.Status].credit, o.Credit) {
		return ""
	}
	return fmt.Sprintf("the order is %s, its credit %s", o.Status, cmp.Or(o.Credit, "never held"))
}

func companyStockDiffers(f *file, _ time.Time) string {
	o, status := f.company, "none"
	if f.reservation != nil {
		status = f.reservation.Status
	}
	switch {
	case !slices.Contains(footings[o.Status].stock, status):
		return fmt.Sprintf("the order is %s, its stock %s", o.Status, status)
	case status == "shipped" && f.reservation.Units != o.Units:
		return fmt.Sprintf("%d units were allocated, %d shipped", o.Units, f.reservation.Units)
	default:
		return ""
	}
}

func erpDiffers(f *file, _ time.Time) string {
	o := f.company
	var open []provider.ERPOrder
	for _, e := range f.erp {
		if e.Status != "cancelled" {
			open = append(open, e)
		}
	}
	want := footings[o.Status].erp
	switch {
	case len(f.erp) > 1:
		return fmt.Sprintf("the ERP has %d orders", len(f.erp))
	case want == "none" && len(open) > 0:
		return fmt.Sprintf("the order is %s, but %s is %s at the ERP", o.Status, open[0].ID, open[0].Status)
	case want != "open":
		return ""
	case len(open) == 0:
		return fmt.Sprintf("the order is %s, but not open at the ERP", o.Status)
	case open[0].ID != o.ERPOrderID:
		return fmt.Sprintf("we know it as %s, the ERP as %s", o.ERPOrderID, open[0].ID)
	case open[0].Total != o.Amount || open[0].Currency != o.Currency:
		return fmt.Sprintf("the ERP's is over %d %s, ours over %d %s", open[0].Total, open[0].Currency, o.Amount, o.Currency)
	default:
		return ""
	}
}

func erpAstray(f *file, _ time.Time) string {
	if f.company == nil {
		return fmt.Sprintf("%s at the ERP is for an order that does not exist", f.erp[0].ID)
	}
	return ""
}

func decisionsDiffer(f *file, _ time.Time) string {
	o := f.company
	if err := o.checkDecisions(); err != nil {
		return err.Error()
	}
	var approvals, rejections int
	for _, d := range o.Decisions {
		if d.Verdict == "approve" {
			approvals++
		} else {
			rejections++
		}
	}
	if gates := footings[o.Status].gate; gates != nil && !slices.Contains(gates, o.Gate) {
		return fmt.Sprintf("the order is %s, its approval %s", o.Status, cmp.Or(o.Gate, "never asked for"))
	}
	switch {
	case o.Gate == "approved" && (approvals != o.Need || rejections > 0):
		return fmt.Sprintf("approved with %d approvals of %d and %d rejections", approvals, o.Need, rejections)
	case o.Gate == "rejected" && rejections != 1:
		return fmt.Sprintf("rejected with %d rejections", rejections)
	case o.Gate != "rejected" && rejections > 0:
		return fmt.Sprintf("rejected, and yet the approval is %s", o.Gate)
	case o.Gate != "approved" && o.Need > 0 && approvals >= o.Need:
		return fmt.Sprintf("%d approvals of %d, and yet the approval is %s", approvals, o.Need, o.Gate)
	default:
		return ""
	}
}

// checkDecisions holds the record of decisions against its own hashes, against the
// seal of the database and against the order as it is stored.
func (o *companyRow) checkDecisions() error {
	if err := chain.Check(o.Decisions); err != nil {
		return err
	}
	key := chain.Key{InnerPad: o.InnerPad, OuterPad: o.OuterPad, Since: o.KeySince}
	if err := key.CheckMACs(o.Decisions); err != nil {
		return err
	}
	return chain.CheckOrder(o.Decisions, &chain.Order{
		ID: o.ID, CompanyID: o.CompanyID, OrderedBy: o.OrderedBy, Currency: o.Currency, Amount: o.Amount,
		AllowBackorder: o.AllowBackorder, Lines: o.Lines,
	}, o.RequestHash)
}

func companyForgotten(f *file, now time.Time) string {
	o := f.company
	if !o.lingers(now) || o.excuse(now) != "" {
		return ""
	}
	if o.Gate == "open" {
		return "its approval expired, and the workflow has not acted on it"
	}
	return fmt.Sprintf("%s since %s, and waits for nothing", o.Status, o.MovedAt.UTC().Format(time.RFC3339))
}

func (o *companyRow) lingers(now time.Time) bool { return !o.Ended && now.Sub(o.MovedAt) > settleTime }

// excuse says which person the order waits for.
func (o *companyRow) excuse(now time.Time) string {
	switch {
	case o.Status == "compensation_failed":
		return "an operator: " + o.Reason
	case o.Gate == "open" && now.Sub(*o.ExpireAt) < overdue:
		return "approval until " + o.ExpireAt.UTC().Format(time.RFC3339)
	default:
		return ""
	}
}

// credit checks companies' credit against their orders. One statement sees one
// moment, so that nothing need be read again.
func (src *Sources) credit(ctx context.Context) ([]Check, error) {
	if src.B2B == nil {
		return nil, nil
	}
	limit := Check{Name: "credit within the limit", Unit: "companies"}
	sums := Check{Name: "credit = held and used by orders", Unit: "companies"}
	rows, err := src.B2B.Query(ctx, companiesSQL)
	if err != nil {
		return nil, fmt.Errorf("read credit: %w", err)
	}
	var company string
	var most, held, exposure, ordersHeld, ordersUsed int64
	_, err = pgx.ForEachRow(rows, []any{&company, &most, &held, &exposure, &ordersHeld, &ordersUsed}, func() error {
		if held+exposure > most {
			limit.Offenders = append(limit.Offenders, Offender{company, fmt.Sprintf("%d held and %d used of %d", held, exposure, most)})
		}
		if held != ordersHeld || exposure != ordersUsed {
			sums.Offenders = append(sums.Offenders, Offender{company, fmt.Sprintf(
				"%d held and %d used, but orders hold %d and use %d", held, exposure, ordersHeld, ordersUsed)})
		}
		limit.Checked++
		return nil
	})
	sums.Checked = limit.Checked
	return []Check{sums, limit}, err
}

const companiesSQL = `
	select c.id, c.credit_limit, c.held, c.exposure,
	       coalesce(sum(coalesce(o.credit_amount, o.amount)) filter (where o.credit = 'held'), 0)::bigint,
	       coalesce(sum(coalesce(o.credit_amount, o.amount)) filter (where o.credit = 'used'), 0)::bigint
	from companies c left join orders o on o.company_id = c.id
	group by c.id order by c.id`

// erpBook is a copy of the ERP's books, by our order.
type erpBook struct {
	from    ERP
	byOrder map[uuid.UUID][]provider.ERPOrder
}

func newERPBook(from ERP) *erpBook {
	return &erpBook{from: from, byOrder: make(map[uuid.UUID][]provider.ERPOrder)}
}

func (b *erpBook) readAll(ctx context.Context) error {
	if b.from == nil {
		return nil
	}
	all, err := b.from.Orders(ctx)
	for _, o := range all {
		b.byOrder[o.ExternalID] = append(b.byOrder[o.ExternalID], o)
	}
	return err
}

// readAgain looks at some orders once more: at the ERP they change.
func (b *erpBook) readAgain(ctx context.Context, ids []uuid.UUID) error {
	if b.from == nil {
		return nil
	}
	for _, id := range ids {
		again, err := b.from.OrdersOf(ctx, id)
		if err != nil {
			return err
		}
		delete(b.byOrder, id)
		if len(again) > 0 {
			b.byOrder[id] = again
		}
	}
	return nil
}

// of takes id from the queue and returns its orders.
func (b *erpBook) of(q *queue, id uuid.UUID) []provider.ERPOrder {
	if !q.take(id) {
		return nil
	}
	return b.byOrder[id]
}
