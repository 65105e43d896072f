package observability

// A board is a dashboard of Grafana.
type board struct {
	uid, title string
	panels     []panel
}

// A panel draws queries over time. A unit is one of Grafana's names.
type panel struct {
	title, unit string
	queries     []query
}

// A query of Prometheus. legend names its series by their labels.
type query struct{ expr, legend string }

// quantiles of a histogram, by labels.
func quantiles(metric, by string) []query {
	var all []query
	for _, q := range []string{"0.5", "0.99"} {
		legend := "p" + q[2:]
		group := "le"
		if by != "" {
			group, legend = by+", le", "{{"+by+"}} "+legend
		}
		all = append(all, query{"histogram_quantile(" + q + ", sum by (" + group + ") (rate(" + metric + "_bucket[$__rate_interval])))", legend})
	}
	return all
}

// rate of a counter, by service.
func rate(metric string) []query {
	return []query{{"sum by (service) (rate(" + metric + "[$__rate_interval]))", "{{service}}"}}
}

// highest of a gauge that replicas share, by a label.
func highest(metric, by string) []query {
	return []query{{"max by (" + by + ") (" + metric + ")", "{{" + by + "}}"}}
}

var boards = []board{
	{"quadrille-orders", "Quadrille: orders", []panel{
		{"Orders a second", "ops", []query{
			{`sum(rate(quadrille_sagas_started_total{service="checkout"}[$__rate_interval]))`, "begun"},
			{`sum by (outcome) (rate(quadrille_saga_seconds_count{service="order"}[$__rate_interval]))`, "{{outcome}}"},
		}},
		{"Time to settle", "s", quantiles(`quadrille_saga_seconds`, "service")},
		{"Orders not settled within 5 s (objective: 0.1 %)", "percentunit", []query{
			{"quadrille:orders_late:ratio_rate5m", "5 minutes"}, {"quadrille:orders_late:ratio_rate1h", "1 hour"}, {"quadrille:orders_late:ratio_rate3d", "3 days"},
		}},
		{"Begun and not ended, of the last hour", "short", []query{{"quadrille:orders_open:increase1h", "orders"}}},
		{"Companies' orders a second", "ops", []query{
			{`sum(rate(quadrille_sagas_started_total{service="b2b"}[$__rate_interval]))`, "begun"},
			{`sum by (outcome) (rate(quadrille_saga_seconds_count{service="b2b"}[$__rate_interval]))`, "{{outcome}}"},
		}},
		{"Payment: slot, provider, outcome", "s", quantiles("quadrille_payment_step_seconds", "step")},
		{"Payments under way, and refused", "short", []query{
			{"max(quadrille_payments_charging)", "charging"}, {"max(quadrille_payments_refunding)", "refunding"}, {"max(quadrille_payments_refused)", "refused"},
		}},
		{"Placing: wait for the transaction before", "s", quantiles("quadrille_placing_wait_seconds", "")},
	}},
	{"quadrille-events", "Quadrille: events", []panel{
		{"Events published a second", "ops", rate("quadrille_outbox_published_total")},
		{"Events handled a second", "ops", rate("quadrille_inbox_handled_total")},
		{"Outbox: events in the table", "short", highest("quadrille_outbox_depth", "service")},
		{"Outbox: age of the oldest", "s", highest("quadrille_outbox_oldest_seconds", "service")},
		{"Relay lag: from an event to the broker", "s", quantiles("quadrille_outbox_lag_seconds", "service")},
		{"Replication slot: for how long the oldest event waits", "s", highest("quadrille_outbox_slot_lag_seconds", "service")},
		{"Replication slot: log not confirmed", "bytes", highest("quadrille_outbox_slot_behind_bytes", "service")},
		{"From an event to its arrival", "s", quantiles("quadrille_inbox_arrival_seconds", "service")},
		{"Time to handle", "s", quantiles("quadrille_inbox_transaction_seconds", "service")},
		{"Batch sizes, handled and published", "short", []query{
			{"sum by (service) (rate(quadrille_inbox_batch_size_sum[$__rate_interval])) / sum by (service) (rate(quadrille_inbox_batch_size_count[$__rate_interval]))", "{{service}} handles"},
			{"sum by (service) (rate(quadrille_outbox_batch_size_sum[$__rate_interval])) / sum by (service) (rate(quadrille_outbox_batch_size_count[$__rate_interval]))", "{{service}} publishes"},
		}},
		{"Duplicates a second", "ops", rate("quadrille_inbox_duplicates_total")},
		{"Delivered again, a second", "ops", rate("quadrille_inbox_again_total")},
		{"Parked", "short", highest("quadrille_parked_events", "service")},
		{"Refused by the broker", "short", highest("quadrille_outbox_refused", "topic")},
	}},
	{"quadrille-services", "Quadrille: services", []panel{
		{"Requests a second", "reqps", rate("quadrille_http_request_seconds_count")},
		{"Answers 5xx a second", "reqps", []query{{`sum by (service) (rate(quadrille_http_request_seconds_count{status="5xx"}[$__rate_interval]))`, "{{service}}"}}},
		{"Time to answer", "s", quantiles("quadrille_http_request_seconds", "service")},
		{"Breakers (0 closed, 1 trying, 2 open)", "short", []query{{"max by (service, breaker) (quadrille_breaker_state)", "{{service}} {{breaker}}"}}},
		{"Goroutines", "short", []query{{"go_goroutines", "{{job}} {{instance}}"}}},
		{"Memory", "bytes", []query{{"process_resident_memory_bytes", "{{job}} {{instance}}"}}},
		{"CPU", "percentunit", []query{{"rate(process_cpu_seconds_total[$__rate_interval])", "{{job}} {{instance}}"}}},
		{"Database connections in use", "short", []query{{"quadrille_database_connections", "{{service}} {{instance}}"}}},
		{"Gateway: requests refused a second", "reqps", []query{
			{"sum(rate(quadrille_gateway_limited_addresses_total[$__rate_interval]))", "address asks too often"},
			{"sum(rate(quadrille_gateway_limited_callers_total[$__rate_interval]))", "caller asks too often"},
			{"sum(rate(quadrille_gateway_tokens_refused_total[$__rate_interval]))", "token"},
			{"sum(rate(quadrille_gateway_away_total[$__rate_interval]))", "service away"},
		}},
		{"Keys of identity that could not be fetched, a second", "ops", rate("quadrille_token_keys_failed_total")},
		{"Erasures late", "short", []query{{"max(quadrille_customer_erasures_late)", "late"}, {"max(quadrille_customer_erasures_open)", "open"}}},
		{"Search index behind", "s", []query{{"max(quadrille_catalog_index_oldest_seconds)", "oldest change"}}},
	}},
}
