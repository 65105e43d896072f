package b2b

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/workflows/b2b/wire"
)

var approvalPages = rest.Pages{Default: 100, Most: 500}

// approvalsSQL is Policy.Principal in SQL, over all gates at once; a property test
// holds the two together. First the companies that name the approver ($1), and in
// whose names the approver decides there now ($2): their own first, then those of the
// delegations in their order. Then of each such company the gates behind the cursor
// ($3, $4), soonest to expire first, as far as they fill the page ($5). A caller who
// is known sees those of their own company ($6), as another may have a namesake of
// theirs. The offset keeps the planner from beginning with the orders.
var approvalsSQL = `
	with mine as materialized (
		select c.id, c.credit_limit - c.held - c.exposure as credit_left, names.principals, names.limits, names.most
		from companies c cross join lateral (
			select array_agg(n.principal order by n.rank) as principals, array_agg(n.most order by n.rank) as limits, max(n.most) as most
			from (
				select $1::text as principal, (a ->> 'limit')::bigint as most, 0::bigint as rank
				from jsonb_path_query(c.policy, '` + approverNamed + `', jsonb_build_object('name', $1::text)) a
				union all
				select a ->> 'id', (a ->> 'limit')::bigint, d.rank
				from rows from (jsonb_path_query(c.policy, '$.delegations[*]')) with ordinality d(delegation, rank)
				cross join lateral jsonb_path_query(c.policy, '` + approverNamed + `', jsonb_build_object('name', d.delegation -> 'from')) a
				where d.delegation ->> 'to' = $1
				  and (d.delegation ->> 'since')::timestamptz <= $2 and $2 < (d.delegation ->> 'until')::timestamptz) n) names
		where ($6::text is null or c.id = $6) and (c.policy -> 'approvers' @> jsonb_build_array(jsonb_build_object('id', $1::text))
			or c.policy -> 'delegations' @> jsonb_build_array(jsonb_build_object('to', $1::text)))
		  and names.principals is not null)
	select page.id, mine.id, page.ordered_by, page.amount, page.currency, page.lines, page.principal,
		mine.credit_left, page.need, page.given, page.opened_at, page.expire_at
	from mine cross join lateral (
		select g.id, o.ordered_by, o.amount, o.currency, o.lines, name.principal, g.need, given.count as given, g.opened_at, g.expire_at
		from gates g
		cross join lateral (
			select o.ordered_by, o.amount, o.currency, o.lines from orders o
			where o.id = g.id and o.amount <= mine.most and o.ordered_by <> $1 offset 0) o
		cross join lateral (
			select count(*), bool_or(d.approver = $1) as voted, array_agg(d.on_behalf_of) as taken
			from decisions d where d.order_id = g.id) given
		cross join lateral (
			select n.principal from unnest(mine.principals, mine.limits) with ordinality n(principal, most, rank)
			where n.most >= o.amount and n.principal <> o.ordered_by and n.principal <> all (coalesce(given.taken, '{}'))
			order by n.rank limit 1) name
		where g.company_id = mine.id and g.state = 'open' and (g.expire_at, g.id) > ($3, $4) and given.voted is not true
		order by g.expire_at, g.id limit $5) page
	order by page.expire_at, page.id limit $5`

// approverNamed is the JSON path of the approver of a name, of any level.
var approverNamed = fmt.Sprintf(`$.approvers[*] ? (@.id == $name && @.level <= %d)`, highest)

// approvals lists what an approver may decide on, soonest to expire first.
func (s *server) approvals(w http.ResponseWriter, r *http.Request) error {
	ctx, approver := r.Context(), r.URL.Query().Get("approver")
	if err := checkApprover(ctx, &approver); err != nil {
		return err
	}
	if !events.ValidName(approver) {
		return fault.Field("approver", "required", "Say whose queue: ?approver=.")
	}
	limit, after, err := rest.ReadPage(r, approvalPages, place{}, parsePlace)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	if after.expiresAt.Before(now) {
		after = place{expiresAt: now} // what has expired can be decided by nobody
	}
	q := approvalsQuery{approver: approver, now: now, after: after, most: limit + 1}
	if by, known := caller.From(ctx); known {
		q.company = &by.Company
	}
	list, err := q.list(ctx, s.pool)
	if err != nil {
		return err
	}
	var answer wire.Approvals
	answer.Approvals, answer.Next = rest.CutPage(list, limit, func(last wire.Pending) string {
		return place{last.ExpiresAt, last.OrderID}.String()
	})
	return rest.Write(w, http.StatusOK, answer)
}

// approvalsQuery asks for a page.
type approvalsQuery struct {
	approver string
	now      time.Time
	after    place
	most     int
	company  *string // nil for all
}

func (q approvalsQuery) list(ctx context.Context, db aggregate.Querier) ([]wire.Pending, error) {
	rows, err := db.Query(ctx, approvalsSQL, q.approver, q.now, q.after.expiresAt, q.after.order, q.most, q.company)
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p wire.Pending, err error) {
		var principal string
		var total events.Money
		err = row.Scan(&p.OrderID, &p.CompanyID, &p.OrderedBy, &total.Amount, &total.Currency, &p.Lines, &principal,
			&p.CreditLeft, &p.Need, &p.Given, &p.OpenedAt, &p.ExpiresAt)
		p.Total, p.OnApprove = total, "the stock is allocated and the order goes to the ERP"
		if left := p.Need - p.Given - 1; left > 0 {
			p.OnApprove = fmt.Sprintf("approvals still needed then: %d", left)
		}
		if principal != q.approver {
			p.OnBehalfOf = principal
		}
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	return append([]wire.Pending{}, list...), nil
}

// place is a place in the list. As text it is a cursor.
type place struct {
	expiresAt time.Time
	order     uuid.UUID
}

// String returns the cursor.
func (p place) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", p.expiresAt.UnixMicro(), p.order))
}

func parsePlace(cursor string) (p place, err error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return p, err
	}
	at, order, _ := strings.Cut(string(text), " ")
	micro, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return p, err
	}
	p.expiresAt = time.UnixMicro(micro).UTC()
	p.order, err = uuid.Parse(order)
	return p, err
}
