package main

import (
	"slices"
	"strings"
	"testing"

	"quadrille.internal/local/stack"
)

// A module left out would pass for ever.
func TestLanesHoldEveryModuleAndEveryTransport(t *testing.T) {
	s, err := stack.New(stack.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	want, err := workspaceModules(t.Context(), s.Root)
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, endToEnd+" in one process")
	if _, err := stack.KafkaFound(); err == nil {
		want = append(want, endToEnd+" on Kafka", endToEnd+" on three brokers of Kafka")
	}
	if stack.DebeziumFound() == nil {
		want = append(want, endToEnd+" with Debezium")
	}
	lanes, err := testLanes(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, test := range slices.Concat(lanes[:]...) {
		got = append(got, test.name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("lanes hold %v, want %v", got, want)
	}
	for i, lane := range lanes {
		for _, test := range lane {
			if first := strings.HasPrefix(test.name, endToEnd); first != (i == 0) {
				t.Errorf("%s is in lane %d: stacks are started one at a time, in the first", test.name, i)
			}
		}
	}
}

func TestMissingKafkaFailsWhereItIsInsistedOn(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if again, err := onKafka(goTest{name: endToEnd}); err != nil || len(again) > 0 {
		t.Errorf("without Kafka: %v, %v", again, err)
	}
	if again := byDebezium(goTest{name: endToEnd}); len(again) > 0 {
		t.Errorf("without Kafka: %v", again)
	}
	t.Setenv("QUADRILLE_TEST_KAFKA", "1")
	if again, err := onKafka(goTest{name: endToEnd}); err == nil {
		t.Errorf("without Kafka, which is insisted on: %v", again)
	}
}
