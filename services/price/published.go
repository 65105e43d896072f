package price

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	"quadrille.internal/events"
	"quadrille.internal/events/price"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/aggregate"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/snapshot"
	"quadrille.internal/services/price/book"
	"quadrille.internal/services/price/pricing"
)

// published tells what SKUs cost everybody.
var published = &snapshot.Source[price.Priced]{
	Table:    "public_prices",
	Read:     readPublic,
	PerEvent: price.MaxProducts,
	Event: func(states []snapshot.State[price.Priced]) events.Event {
		products := make([]price.Product, len(states))
		for i, s := range states {
			products[i] = price.Product{SKU: s.Key, Version: s.Version, Priced: s.Value}
			if s.Deleted {
				products[i].Prices = []price.Price{}
			}
		}
		return &price.PriceUpdated{Products: products}
	},
}

// readPublic reads what SKUs cost now. The time is the database's, and later than that of
// the marks which are read before: a list that became valid then is valid here, whatever the
// clocks of replicas say.
func readPublic(ctx context.Context, db aggregate.Querier, skus []string) (map[string]price.Priced, error) {
	rows, err := db.Query(ctx, `
		select sku, list, min_quantity, amount, statement_timestamp() from prices where sku = any($1) and until is null`, skus)
	if err != nil {
		return nil, fmt.Errorf("read public prices: %w", err)
	}
	var entries []book.Entry
	var e book.Entry
	var now time.Time
	if _, err = pgx.ForEachRow(rows, []any{&e.SKU, &e.List, &e.MinQuantity, &e.Amount, &now}, func() error {
		entries = append(entries, e)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read public prices: %w", err)
	}
	lists, err := readLists(ctx, db, entries)
	if err != nil {
		return nil, err
	}
	bySKU := make(map[string][]pricing.Price)
	for _, p := range (&book.Rules{Lists: lists}).Prices(entries) {
		bySKU[p.SKU] = append(bySKU[p.SKU], p)
	}
	found := make(map[string]price.Priced, len(bySKU))
	for sku, list := range bySKU {
		if prices := pricing.Public(list, now); len(prices) > 0 {
			found[sku] = price.Priced{Prices: prices}
		}
	}
	return found, nil
}

// readLists reads the heads of the lists of entries. A list that is changed after the entries
// were read marks them again.
func readLists(ctx context.Context, db aggregate.Querier, entries []book.Entry) (map[string]pricing.List, error) {
	names := make(map[string]bool)
	for _, e := range entries {
		names[e.List] = true
	}
	rows, err := db.Query(ctx, `select name, body from documents where kind = $1 and name = any($2) and until is null`, book.KindList, sortedKeys(names))
	if err != nil {
		return nil, fmt.Errorf("read lists: %w", err)
	}
	lists := make(map[string]pricing.List)
	var name string
	var body []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &body}, func() error {
		var l pricing.List
		if err := json.Unmarshal(body, &l); err != nil {
			return err
		}
		lists[name] = l
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read lists: %w", err)
	}
	return lists, nil
}

// maxSwitches is how many lists become valid, or cease to be so, in one transaction.
const maxSwitches = 10

// switchLists marks what may cost something else since a list became valid or ceased to be
// so, and reports whether there may be more.
func switchLists(ctx context.Context, o *outbox.Outbox) (more bool, err error) {
	var done int64
	err = o.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		rows, err := tx.Query(ctx, `
			delete from switches where id = any(array(
				select id from switches where at <= statement_timestamp() order by at limit $1 for update skip locked))
			returning list`, maxSwitches)
		if err != nil {
			return fmt.Errorf("take switches: %w", err)
		}
		lists, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if done = int64(len(lists)); err != nil || done == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `
			insert into public_prices_changes (key)
			select distinct p.sku from prices p where p.list = any($1) and p.until is null`, lists)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("switch lists: %w", err)
	}
	return done == maxSwitches, nil
}

// priceSnapshot answers with all that is published; see price.proto.
type priceSnapshot struct {
	pricev1.UnimplementedPriceSnapshotServer
	pool   *pgxpool.Pool
	prices *prices
}

func (s *priceSnapshot) register(r grpc.ServiceRegistrar) {
	pricev1.RegisterPriceSnapshotServer(r, s)
}

// ListPrices returns a page of the SKUs, by SKU.
func (s *priceSnapshot) ListPrices(ctx context.Context, req *pricev1.ListPricesRequest) (*pricev1.ListPricesResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	states, next, err := published.Page(ctx, s.pool, req.GetPageToken(), int(req.GetPageSize()))
	if err != nil {
		return nil, s.prices.statusOf(ctx, err)
	}
	items := make([]*pricev1.PriceItem, len(states))
	for i, st := range states {
		items[i] = &pricev1.PriceItem{Sku: st.Key, Version: st.Version}
		for _, p := range st.Value.Prices {
			item := &pricev1.CurrencyPrice{
				Currency: p.Currency, Amount: p.Amount, ListPrice: p.ListPrice, ValidFrom: p.ValidFrom.Format(time.RFC3339Nano),
			}
			if p.ValidUntil != nil {
				item.ValidUntil = p.ValidUntil.Format(time.RFC3339Nano)
			}
			items[i].Prices = append(items[i].Prices, item)
		}
	}
	return &pricev1.ListPricesResponse{Items: items, NextPageToken: next}, nil
}
