package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/quad/provider"
	b2b "quadrille.internal/workflows/b2b/audit"
	"quadrille.internal/workflows/b2b/decisionlog"
)

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
	if err := checkDecisions(o); err != nil {
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
func checkDecisions(o *b2b.Order) error {
	if err := decisionlog.Check(o.Decisions); err != nil {
		return err
	}
	key := decisionlog.Key{InnerPad: o.InnerPad, OuterPad: o.OuterPad, Since: o.KeySince}
	if err := key.CheckMACs(o.Decisions); err != nil {
		return err
	}
	return decisionlog.CheckOrder(o.Decisions, &decisionlog.Order{
		ID: o.ID, CompanyID: o.CompanyID, OrderedBy: o.OrderedBy, Currency: o.Currency, Amount: o.Amount,
		AllowBackorder: o.AllowBackorder, Lines: o.Lines,
	}, o.RequestHash)
}

func companyForgotten(f *file, now time.Time) string {
	o := f.company
	if !companyLingers(o, now) || companyExcuse(o, now) != "" {
		return ""
	}
	if o.Gate == "open" {
		return "its approval expired, and the workflow has not acted on it"
	}
	return fmt.Sprintf("%s since %s, and waits for nothing", o.Status, o.MovedAt.UTC().Format(time.RFC3339))
}

func companyLingers(o *b2b.Order, now time.Time) bool {
	return !o.Ended && now.Sub(o.MovedAt) > settleTime
}

// companyExcuse says which person the order waits for.
func companyExcuse(o *b2b.Order, now time.Time) string {
	switch {
	case o.Status == "compensation_failed":
		return "an operator: " + o.Reason
	case o.Gate == "open" && now.Sub(*o.ExpireAt) < overdue:
		return "approval until " + o.ExpireAt.UTC().Format(time.RFC3339)
	default:
		return ""
	}
}

// credit checks companies' credit against their orders. It is read at one moment, so
// that nothing need be read again.
func (src *Sources) credit(ctx context.Context) ([]Check, error) {
	db := src.Databases["b2b"]
	if db == nil {
		return nil, nil
	}
	limit := Check{Name: "credit within the limit", Unit: "companies"}
	sums := Check{Name: "credit = held and used by orders", Unit: "companies"}
	err := b2b.Credits(ctx, db, func(c b2b.Credit) {
		if c.Held+c.Used > c.Limit {
			limit.Offenders = append(limit.Offenders, Offender{c.Company, fmt.Sprintf("%d held and %d used of %d", c.Held, c.Used, c.Limit)})
		}
		if c.Held != c.HeldByOrders || c.Used != c.UsedByOrders {
			sums.Offenders = append(sums.Offenders, Offender{c.Company, fmt.Sprintf(
				"%d held and %d used, but orders hold %d and use %d", c.Held, c.Used, c.HeldByOrders, c.UsedByOrders)})
		}
		limit.Checked++
	})
	if err != nil {
		return nil, fmt.Errorf("read credit: %w", err)
	}
	sums.Checked = limit.Checked
	return []Check{sums, limit}, nil
}

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
