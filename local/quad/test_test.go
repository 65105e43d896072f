package main

import (
	"slices"
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
		want = append(want, endToEnd+" on Kafka")
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
	if !slices.Equal(got, want) || len(lanes[0]) != 1 || lanes[0][0].name != endToEnd {
		t.Errorf("lanes hold %v, want %v with %s alone in the first", got, want, endToEnd)
	}
}

func TestMissingKafkaFailsWhereItIsInsistedOn(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if again, err := onKafka(goTest{name: endToEnd}); err != nil || len(again) > 0 {
		t.Errorf("without Kafka: %v, %v", again, err)
	}
	t.Setenv("QUADRILLE_TEST_KAFKA", "1")
	if again, err := onKafka(goTest{name: endToEnd}); err == nil {
		t.Errorf("without Kafka, which is insisted on: %v", again)
	}
}
