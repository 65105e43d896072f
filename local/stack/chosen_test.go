package stack

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestAStackOfSomeServices(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Options{Dir: dir, PortShift: testShift, Services: []string{"payment", "checkout"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"checkout", "payment"} // in the order of the run file
	if apps := s.Apps(); !slices.Equal(apps, want) {
		t.Fatalf("services %q, want %q", apps, want)
	}
	path, err := s.effectiveRunFile()
	if err != nil || path == s.runFilePath() {
		t.Fatalf("runs %s, %v, want a run file of its own", path, err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "appID: order") || !strings.Contains(string(text), "appID: payment") {
		t.Errorf("the run file has others, or not these (%v)", err)
	}
	if err := s.claimServices(); err != nil {
		t.Fatal(err)
	}

	for name, opts := range map[string]Options{"said nothing": {}, "of its usual ones": {Usual: ForOrders}, "said the same": {Services: want}} {
		opts.Dir, opts.PortShift = dir, testShift
		again, err := New(opts)
		if err == nil {
			err = again.claimServices()
		}
		if err != nil || !slices.Equal(again.Apps(), want) {
			t.Errorf("a command that %s means %q, %v, want those in use", name, again.Apps(), err)
		}
	}
	other, err := New(Options{Dir: dir, PortShift: testShift, Services: ForOrders})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*EnvironmentError](other.claimServices()); !ok {
		t.Error("other services were taken while these are in use")
	}
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.claimServices(); err != nil {
		t.Errorf("once stopped: %v", err)
	}
}

func TestServicesByDefault(t *testing.T) {
	all, err := New(Options{Dir: t.TempDir()})
	if err != nil || len(all.Apps()) < len(ForOrders) || len(all.opts.Services) != 0 {
		t.Fatalf("services %q, %v, want all", all.Apps(), err)
	}
	usual, err := New(Options{Dir: t.TempDir(), Usual: ForOrders})
	if err != nil || len(usual.Apps()) != len(ForOrders) {
		t.Errorf("services %q, %v, want %q", usual.Apps(), err, ForOrders)
	}
	if _, err := New(Options{Dir: t.TempDir(), Services: []string{"payments"}}); !errors.Is(err, ErrUnknownService) {
		t.Errorf("%v, want that there is no such service", err)
	}
}

// Services that the installation does not have will never hear what is kept for them.
func TestTheOneProcessKnowsWhatIsInstalled(t *testing.T) {
	s, err := New(Options{Dir: t.TempDir(), PortShift: testShift, Broker: OneProcess, Services: []string{"checkout", "payment"}})
	if err != nil {
		t.Fatal(err)
	}
	if env := s.togetherEnv(); !slices.Contains(env, "QUADRILLE_INSTALLED=checkout,payment") {
		t.Errorf("environment %q", env)
	}
}
