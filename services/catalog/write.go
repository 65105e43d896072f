package catalog

import (
	"context"
	"errors"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
)

// precondition is what a caller says of the thing that it changes.
type precondition struct {
	absent  bool
	version int64
}

// check refuses a change of what is no longer as the caller read it.
func (p precondition) check(exists bool, version int64) error {
	switch {
	case p.absent && exists:
		return fault.New(fault.PreconditionFailed, "exists", "It exists already; read it, and send If-Match with its ETag.")
	case !p.absent && p.version != version:
		return fault.New(fault.PreconditionFailed, "changed", "It was changed since it was read, or does not exist; read it again.")
	}
	return nil
}

// put gives a product a content, if the catalog allows it.
func (s *shelf) put(e entry, now time.Time) (changed bool, event events.Event, err error) {
	for _, id := range e.Categories {
		if !s.categories[id] {
			return false, nil, noCategory("categories", id)
		}
	}
	for _, sku := range e.SKUs() {
		if owner, taken := s.owners[sku]; taken && owner != e.id {
			f := fault.New(fault.Conflict, "sku_taken", "SKU %s belongs to product %s.", sku, owner)
			f.Field = "variants"
			return false, nil, f
		}
	}
	p := s.products[e.id]
	if p == nil {
		p = &Product{ID: e.id}
	}
	if changed, event, err = p.Change(e.Content, now); err != nil {
		return false, nil, err
	}
	s.products[e.id] = p
	for _, sku := range e.SKUs() {
		s.owners[sku] = e.id
	}
	return changed, event, nil
}

// putProduct writes one product.
func putProduct(ctx context.Context, o *outbox.Outbox, trace string, e entry, p precondition) (saved *Product, err error) {
	err = o.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		s, err := loadShelf(ctx, tx, []entry{e})
		if err != nil {
			return err
		}
		had := s.products[e.id]
		var version int64
		if had != nil {
			version = had.Version
		}
		if err := p.check(had != nil, version); err != nil {
			return err
		}
		changed, event, err := s.put(e, tx.Now)
		if err != nil {
			return err
		}
		if saved = s.products[e.id]; !changed {
			return nil
		}
		if event != nil {
			if err := tx.Emit(trace, event); err != nil {
				return err
			}
		}
		return saveProducts(ctx, tx, map[string]*Product{e.id: saved})
	})
	return saved, err
}

// outcome is what became of an entry of a batch.
type outcome struct {
	created, changed bool
	refused          *fault.Fault
}

// putProducts writes a batch of products, each named once, whatever they were before. Those
// that cannot be written hold up no others.
func putProducts(ctx context.Context, o *outbox.Outbox, trace string, entries []entry) (outcomes []outcome, err error) {
	err = o.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		s, err := loadShelf(ctx, tx, entries)
		if err != nil {
			return err
		}
		outcomes = make([]outcome, len(entries))
		written := make(map[string]*Product)
		for i, e := range entries {
			existed := s.products[e.id] != nil
			changed, event, err := s.put(e, tx.Now)
			if refused, ok := errors.AsType[*fault.Fault](err); ok {
				outcomes[i].refused = refused
				continue
			}
			if err != nil {
				return err
			}
			if event != nil {
				if err := tx.Emit(trace, event); err != nil {
					return err
				}
			}
			if changed {
				outcomes[i].created, outcomes[i].changed = !existed, existed
				written[e.id] = s.products[e.id]
			}
		}
		return saveProducts(ctx, tx, written)
	})
	return outcomes, err
}
