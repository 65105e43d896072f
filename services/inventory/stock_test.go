package inventory

import (
	"reflect"
	"testing"

	"quadrille.internal/events"
)

func shelfOf(stocks ...Stock) Shelf {
	shelf := make(Shelf)
	for _, s := range stocks {
		shelf[s.SKU] = append(shelf[s.SKU], &s)
	}
	return shelf
}

func TestAllocate(t *testing.T) {
	for _, c := range []struct {
		name  string
		stock []Stock
		lines []events.Line
		want  []events.Allocation
		short []events.Shortage
	}{
		{"one warehouse has it",
			[]Stock{{"a", "leeds", 5, 0, 0}},
			[]events.Line{{SKU: "a", Quantity: 5}},
			[]events.Allocation{{SKU: "a", Warehouse: "leeds", Quantity: 5}}, nil},
		{"one that has all is preferred to one that has most of one thing",
			[]Stock{{"a", "leeds", 90, 0, 0}, {"a", "york", 3, 0, 0}, {"b", "york", 2, 0, 0}},
			[]events.Line{{SKU: "a", Quantity: 3}, {SKU: "b", Quantity: 2}},
			[]events.Allocation{{SKU: "a", Warehouse: "york", Quantity: 3}, {SKU: "b", Warehouse: "york", Quantity: 2}}, nil},
		{"several warehouses, most first",
			[]Stock{{"a", "leeds", 2, 0, 0}, {"a", "london", 5, 0, 0}, {"a", "york", 3, 0, 0}},
			[]events.Line{{SKU: "a", Quantity: 9}},
			[]events.Allocation{
				{SKU: "a", Warehouse: "london", Quantity: 5},
				{SKU: "a", Warehouse: "york", Quantity: 3},
				{SKU: "a", Warehouse: "leeds", Quantity: 1},
			}, nil},
		{"no single warehouse has all of two things",
			[]Stock{{"a", "leeds", 4, 0, 0}, {"b", "york", 1, 0, 0}},
			[]events.Line{{SKU: "b", Quantity: 1}, {SKU: "a", Quantity: 4}},
			[]events.Allocation{{SKU: "a", Warehouse: "leeds", Quantity: 4}, {SKU: "b", Warehouse: "york", Quantity: 1}}, nil},
		{"the name breaks a tie",
			[]Stock{{"a", "york", 4, 0, 0}, {"a", "leeds", 4, 0, 0}, {"a", "london", 4, 0, 0}},
			[]events.Line{{SKU: "a", Quantity: 4}},
			[]events.Allocation{{SKU: "a", Warehouse: "leeds", Quantity: 4}}, nil},
		{"more than wanted does not count",
			[]Stock{{"a", "york", 400, 0, 0}, {"a", "leeds", 4, 0, 0}},
			[]events.Line{{SKU: "a", Quantity: 4}},
			[]events.Allocation{{SKU: "a", Warehouse: "leeds", Quantity: 4}}, nil},
		{"what is held is not there",
			[]Stock{{"a", "leeds", 9, 9, 0}, {"a", "york", 9, 5, 0}},
			[]events.Line{{SKU: "a", Quantity: 4}},
			[]events.Allocation{{SKU: "a", Warehouse: "york", Quantity: 4}}, nil},
		{"a SKU on several lines counts as their sum",
			[]Stock{{"a", "leeds", 3, 0, 0}, {"a", "york", 5, 0, 0}},
			[]events.Line{{SKU: "a", Quantity: 2, UnitPrice: 10}, {SKU: "a", Quantity: 3, UnitPrice: 9}},
			[]events.Allocation{{SKU: "a", Warehouse: "york", Quantity: 5}}, nil},
		{"a SKU on several lines is short by their sum",
			[]Stock{{"a", "leeds", 4, 0, 0}},
			[]events.Line{{SKU: "a", Quantity: 2}, {SKU: "a", Quantity: 3}},
			nil, []events.Shortage{{SKU: "a", Requested: 5, Available: 4}}},
		{"every shortage is told, and nothing is held",
			[]Stock{{"a", "leeds", 1, 0, 0}, {"b", "leeds", 9, 0, 0}, {"c", "leeds", 9, 8, 0}},
			[]events.Line{{SKU: "c", Quantity: 2}, {SKU: "b", Quantity: 1}, {SKU: "a", Quantity: 2}, {SKU: "nowhere", Quantity: 1}},
			nil, []events.Shortage{
				{SKU: "a", Requested: 2, Available: 1}, {SKU: "c", Requested: 2, Available: 1}, {SKU: "nowhere", Requested: 1},
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			shelf := shelfOf(c.stock...)
			got, short := shelf.Allocate(c.lines)
			if !reflect.DeepEqual(got, c.want) || !reflect.DeepEqual(short, c.short) {
				t.Errorf("got %v short %v, want %v short %v", got, short, c.want, c.short)
			}
			for _, before := range c.stock {
				for _, a := range got {
					if a.SKU == before.SKU && a.Warehouse == before.Warehouse {
						before.Held += a.Quantity
					}
				}
				if after := shelf.at(before.SKU, before.Warehouse); *after != before {
					t.Errorf("stock %+v, want %+v", *after, before)
				}
			}
		})
	}
}

func TestReasonTellsWhatIsShort(t *testing.T) {
	for want, short := range map[string][]events.Shortage{
		"a is out of stock.":             {{SKU: "a", Requested: 2}},
		"Only 1 of 2 of a are in stock.": {{SKU: "a", Requested: 2, Available: 1}},
		"a is out of stock. One more item is short.": {
			{SKU: "a", Requested: 2}, {SKU: "b", Requested: 2}},
		"a is out of stock. 2 more items are short.": {
			{SKU: "a", Requested: 2}, {SKU: "b", Requested: 2}, {SKU: "c", Requested: 1}},
	} {
		if got := reasonOf(short); got.Message != want || got.Code != events.ReasonOutOfStock {
			t.Errorf("reason %+v, want %q", got, want)
		}
	}
}
