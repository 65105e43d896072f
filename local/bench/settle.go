package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/audit"
	checkout "quadrille.internal/services/checkout/audit"
	inventory "quadrille.internal/services/inventory/audit"
	order "quadrille.internal/services/order/audit"
	payment "quadrille.internal/services/payment/audit"
	b2b "quadrille.internal/workflows/b2b/audit"
)

// books reads the services' databases, as the auditor.
type books struct {
	trade *trade
	conns map[string]*pgx.Conn // by service
	// first is an id that every order of this run is above: ids are UUIDs of
	// version 7, which grow with time.
	first string
}

// The services that orders pass, and what they say of them.
var (
	checkoutParts = map[string]audit.Progress{
		"checkout": checkout.Progress, "inventory": inventory.Progress, "payment": payment.Progress, "order": order.Progress,
	}
	dealParts = map[string]audit.Progress{"b2b": b2b.Progress, "inventory": inventory.Progress}
)

// openBooks connects to the databases of services, and makes sure that PostgreSQL keeps the times of commits.
func openBooks(ctx context.Context, of *trade, services []string, url func(service string) string) (*books, error) {
	b := &books{trade: of, conns: map[string]*pgx.Conn{}, first: lowestID(time.Now())}
	for _, service := range services {
		conn, err := connect(ctx, url(service))
		if err != nil {
			b.close(ctx)
			return nil, fmt.Errorf("open the books of %s: %w", service, err)
		}
		b.conns[service] = conn
	}
	var kept string
	if err := b.conns["order"].QueryRow(ctx, "show track_commit_timestamp").Scan(&kept); err != nil {
		return nil, err
	}
	if kept != "on" {
		b.close(ctx)
		return nil, ErrNoCommitTimes
	}
	return b, nil
}

// connect has every query planned for the ids it is about. A plan for any id
// would read whole tables, and the more history there is, the slower a run would
// seem.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["plan_cache_mode"] = "force_custom_plan"
	return pgx.ConnectConfig(ctx, cfg)
}

// ErrNoCommitTimes says that the server was started without what tells when an
// order was settled.
var ErrNoCommitTimes = errors.New("PostgreSQL runs without track_commit_timestamp")

func (b *books) close(ctx context.Context) {
	for _, conn := range b.conns {
		_ = conn.Close(ctx)
	}
}

// lowestID is the lowest UUID of version 7 made at t (RFC 9562, section 5.7).
func lowestID(t time.Time) string {
	ms := t.UnixMilli()
	return fmt.Sprintf("%08x-%04x-7000-8000-000000000000", ms>>16, ms&0xffff)
}

// unsettled counts the orders, from an id upwards, that are still under way, and
// returns the lowest id of them. This is for pacing, several times a second.
func (b *books) unsettled(ctx context.Context, from string) (n int, oldest string, err error) {
	for service, part := range b.trade.parts {
		if part.Unsettled == "" {
			continue
		}
		count, lowest, err := part.CountUnsettled(ctx, b.conns[service], from)
		if err != nil {
			return 0, "", fmt.Errorf("ask %s what is under way: %w", service, err)
		}
		n = max(n, count)
		if oldest == "" || lowest != "" && lowest < oldest {
			oldest = lowest
		}
	}
	return n, oldest, nil
}

// underWay counts what still has to happen to this run's orders in the databases:
// decisions, payments, events not published yet. It reads all of the run's rows,
// so it is not for while they are being made.
func (b *books) underWay(ctx context.Context) (int, error) {
	var total int
	for service, part := range b.trade.parts {
		n, err := part.CountUnderWay(ctx, b.conns[service], b.first)
		if err != nil {
			return 0, fmt.Errorf("ask %s what is under way: %w", service, err)
		}
		total += n
	}
	for service, conn := range b.conns {
		n, err := audit.CountUnpublished(ctx, conn)
		if err != nil {
			return 0, fmt.Errorf("ask %s what it must publish: %w", service, err)
		}
		total += n
	}
	return total, nil
}

// ends has, for each order of the run, when it was settled: when the last of the
// transactions committed that wrote its rows at the services. The zero time
// is an order that no service knows.
type ends struct {
	settled []time.Time
	told    []time.Time // at the shop, which is who tells the customer
	refused []bool
}

// ends reads when the orders of a run were settled, from PostgreSQL's own record
// of when each row's last transaction committed. That costs the run nothing.
func (b *books) ends(ctx context.Context, runID string, n int) (*ends, error) {
	e := &ends{settled: make([]time.Time, n), told: make([]time.Time, n), refused: make([]bool, n)}
	prefix := orderPrefix + runID + "-"
	numbers := make(map[uuid.UUID]int, n)
	shop := b.trade.parts[b.trade.shop]
	err := shop.TakenIn(ctx, b.conns[b.trade.shop], b.first, prefix, func(t audit.Taken) error {
		i, err := numberOf(t.Key, prefix)
		if err != nil || i >= n {
			return fmt.Errorf("%s has a strange key %q", b.trade.shop, t.Key)
		}
		numbers[t.ID] = i
		e.settled[i], e.told[i], e.refused[i] = t.At, t.At, t.Refused
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the books of %s: %w", b.trade.shop, err)
	}
	for service, part := range b.trade.parts {
		if service == b.trade.shop {
			continue
		}
		err := part.Commits(ctx, b.conns[service], b.first, func(id uuid.UUID, at time.Time) {
			if i, ours := numbers[id]; ours && at.After(e.settled[i]) {
				e.settled[i] = at
			}
		})
		if err != nil {
			return nil, fmt.Errorf("read the books of %s: %w", service, err)
		}
	}
	return e, nil
}

// outcomes counts how the run's orders ended: "confirmed", or why not.
func (b *books) outcomes(ctx context.Context) (map[string]int, error) {
	judge := b.trade.parts[b.trade.judge]
	counts, err := judge.Outcomes(ctx, b.conns[b.trade.judge], b.first, orderPrefix)
	if err != nil {
		return nil, fmt.Errorf("read the books of %s: %w", b.trade.judge, err)
	}
	return counts, nil
}

// sold adds up, by SKU, what the run's orders hold or were shipped.
func (b *books) sold(ctx context.Context) (map[string]int64, error) {
	units, err := inventory.Sold(ctx, b.conns["inventory"], b.first)
	if err != nil {
		return nil, fmt.Errorf("read what was sold: %w", err)
	}
	return units, nil
}

// onSale returns what can be bought of the SKUs of the benchmark.
func (b *books) onSale(ctx context.Context) (map[string]int64, error) {
	units, err := inventory.OnSale(ctx, b.conns["inventory"], orderPrefix)
	if err != nil {
		return nil, fmt.Errorf("read what is on sale: %w", err)
	}
	return units, nil
}

// walPosition is how many bytes of write-ahead log there have ever been.
func (b *books) walPosition(ctx context.Context) (n int64, err error) {
	err = b.conns["order"].QueryRow(ctx, "select (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint").Scan(&n)
	return n, err
}

// oversold counts the units that were sold and never were there.
func oversold(sold, onSale map[string]int64) (units int64) {
	for sku, n := range sold {
		if strings.HasPrefix(sku, orderPrefix) {
			units += max(0, n-onSale[sku])
		}
	}
	return units
}
