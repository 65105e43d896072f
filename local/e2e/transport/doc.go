// Package transport runs the suite of package transporttest over Dapr: real sidecars and
// components, on Redis, and with QUADRILLE_TEST_BROKER=kafka on Kafka. Package inprocess
// runs the same suite without either.
package transport
