package payment

import (
	"github.com/sony/gobreaker/v2"

	"quadrille.internal/platform/telemetry"
)

// expose registers the service's own metrics.
func (c *cashier) expose(m *telemetry.Metrics) {
	b, p := c.books, c.provider
	c.steps = m.Durations("payment_step_seconds", "step", "Of first attempts to charge. "+
		"slot: from the payment's transaction to the call; provider: the call; outcome: from its answer to the transaction that records it.")
	m.Gauge("payments_charging", "Payments whose charge has no outcome yet, counted every ten seconds.", b.charging.Load)
	m.Gauge("payments_refunding", "Payments whose refund has no outcome yet, counted every ten seconds.", b.refunding.Load)
	m.Gauge("payments_refused", "Payments that wait for an operator, counted every ten seconds.", b.refused.Load)
	m.Breakers(func() map[string]telemetry.Breaker { return map[string]telemetry.Breaker{"provider": p.state()} })
	m.Gauge("payment_provider_key_refused", "1 while the provider refuses our key.", func() int64 {
		if p.keyRefused.Load() {
			return 1
		}
		return 0
	})
	m.Counter("payment_provider_ok_total", "Calls that did what was asked.", p.count.ok.Load)
	m.Counter("payment_provider_declined_total", "Charges declined or cancelled for good.", p.count.declined.Load)
	m.Counter("payment_provider_refused_total", "Calls refused for what they ask.", p.count.refused.Load)
	m.Counter("payment_provider_failed_total", "Calls without an outcome.", p.count.failed.Load)
	m.Counter("payment_provider_key_refused_total", "Calls refused for our key.", p.count.keyRefused.Load)
	m.Counter("payment_provider_unsent_total", "Calls that did not leave.", p.count.unsent.Load)
}

func (p *provider) state() telemetry.Breaker {
	switch {
	case p.quiet() || p.circuit.State() == gobreaker.StateOpen:
		return telemetry.Open
	case p.circuit.State() == gobreaker.StateHalfOpen:
		return telemetry.HalfOpen
	default:
		return telemetry.Closed
	}
}
