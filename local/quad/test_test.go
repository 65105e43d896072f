package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quadrille.internal/local/stack"
	"quadrille.internal/quad/command"
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

// What failed is told at the end: the beginning of each test that failed, and the rest in a file.
func TestWhatFailedIsToldLast(t *testing.T) {
	long := strings.Repeat("    a line of the first\n", 2*tellLines)
	text := "ok  \tquadrille.internal/good\t1.2s\n--- FAIL: TestFirst (1.0s)\n" + long +
		"    --- FAIL: TestFirst/part (0.5s)\n        why it failed\n--- FAIL: TestSecond (1.0s)\n    " + strings.Repeat("x", 2*tellChars) +
		"\nFAIL\nFAIL\tquadrille.internal/bad\t2.0s\n"
	short := essence(text)
	for _, want := range []string{"--- FAIL: TestFirst (", "why it failed", "--- FAIL: TestSecond", "FAIL\tquadrille.internal/bad"} {
		if !strings.Contains(short, want) {
			t.Errorf("%q is missing in\n%s", want, short)
		}
	}
	if strings.Contains(short, "quadrille.internal/good") || strings.Count(short, "a line of the first") >= tellLines || strings.Count(short, "x") > tellChars+2 {
		t.Errorf("too long:\n%s", short)
	}
	dir := filepath.Join(t.TempDir(), "failed")
	var told strings.Builder
	err := tellFailed(&told, dir, []failure{{"local/e2e on Kafka", text}, {"quad", "FAIL\n"}})
	if _, unwell := errors.AsType[command.Unwell](err); !unwell || !strings.Contains(err.Error(), "local/e2e on Kafka, quad") {
		t.Errorf("the error is %v", err)
	}
	if whole, err := os.ReadFile(filepath.Join(dir, "local-e2e-on-Kafka.log")); err != nil || string(whole) != text {
		t.Errorf("the whole output: %d bytes, %v", len(whole), err)
	}
	if !strings.Contains(told.String(), short) || !strings.Contains(told.String(), dir) {
		t.Errorf("it told\n%s", &told)
	}
	told.Reset()
	if err := tellFailed(&told, dir, nil); err != nil || told.Len() > 0 {
		t.Errorf("nothing failed: %q, %v", &told, err)
	}
}
