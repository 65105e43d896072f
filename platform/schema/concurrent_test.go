package schema

import "testing"

// Only what nobody waits behind may wait for a lock without limit.
func TestOnlyConcurrent(t *testing.T) {
	const head = "-- +goose NO TRANSACTION\n-- +goose Up\n"
	for text, want := range map[string]bool{
		head + "-- why\ncreate index concurrently if not exists a on t (b);\n-- +goose Down\ndrop index a;": true,
		head + "CREATE UNIQUE INDEX CONCURRENTLY a ON t (b); drop index concurrently c;":                    true,
		head + "create index concurrently a on t (b); alter table t add c int;":                             false,
		head + "drop index if exists a; create index concurrently a on t (b);":                              false,
		"-- +goose Up\ncreate index concurrently a on t (b);":                                               false,
	} {
		if got := onlyConcurrent(text); got != want {
			t.Errorf("%v, want %v: %s", got, want, text)
		}
	}
}
