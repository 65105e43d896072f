// Package e2e proves the saga's rules from the outside: real services and sidecars,
// Redis, PostgreSQL and the payment provider's stand-in, each a process of its own
// that the tests kill, stop and start again. There is nothing here but tests.
//
// The stack is one of its own, in .local/e2e with ports 29xxx, so that it runs
// beside the one in daily use and the servers of `quad test`. Tests run one after
// the other and share it; each takes SKUs and customers of its own and leaves the
// books balanced.
//
// With -race the services are built with the race detector too, and a race in one
// of them fails the run. QUADRILLE_SOAK=10 (make soak) makes loads ten times as
// large, outages longer and kills 500.
// QUADRILLE_TEST_BROKER=kafka runs the same on Kafka, on a stack of its own: what
// parity_test.go chooses, and in a soak every rule. kafka-3 has three brokers.
package e2e
