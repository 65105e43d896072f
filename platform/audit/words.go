package audit

import (
	"fmt"
	"strings"
	"time"

	"quadrille.internal/events"
)

// How stories put things for people.

// Money writes an amount.
func Money(m events.Money) string {
	digits := events.MinorUnits(m.Currency)
	if digits == 0 {
		return fmt.Sprintf("%d %s", m.Amount, m.Currency)
	}
	text := fmt.Sprintf("%0*d", digits+1, m.Amount)
	point := len(text) - digits
	return text[:point] + "." + text[point:] + " " + m.Currency
}

// Places lists what lies where.
func Places(allocations []events.Allocation) string {
	const most = 4
	var list []string
	for _, a := range allocations[:min(most, len(allocations))] {
		list = append(list, fmt.Sprintf("%d %s in %s", a.Quantity, a.SKU, a.Warehouse))
	}
	if more := len(allocations) - most; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// Clock writes the time of day here, or "?".
func Clock(t *time.Time) string {
	if t == nil {
		return "?"
	}
	return t.Local().Format("15:04:05")
}

// Plural counts things whose plural has an s.
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Why is the message of a reason, if there is one.
func Why(r *events.Reason) string {
	if r == nil {
		return ""
	}
	return r.Message
}
