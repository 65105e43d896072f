package e2e

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"quadrille.internal/local/stack"
)

// crowd is the size of a load that something breaks under.
func crowd() int { return scaled(240) }

func TestRule3_NothingIsLostWhenAProcessIsKilled(t *testing.T) {
	var victims []string
	for _, app := range sys.subscribers() { // b2b has kills of its own
		victims = append(victims, app, stack.Sidecar(app))
	}
	if inOneProcess {
		victims = victims[:1]
	}
	victims = fewer(victims, "inventory", stack.Sidecar("order"))
	for _, victim := range victims {
		t.Run(victim, func(t *testing.T) {
			l := sys.underLoad(t, crowd(), func() {
				sys.kill(t, victim)
				sys.revive(t)
			})
			sys.settles(t, l)
			sys.committedOnce(t, l.ids()...)
		})
	}
}

func TestRule3_NothingIsLostWhileAServiceIsAwayFor10Seconds(t *testing.T) {
	const away = 10 * time.Second
	for _, app := range fewer([]string{"inventory", "order"}, "inventory") {
		t.Run(app, func(t *testing.T) {
			s := sys
			l := s.underLoad(t, 200, func() {
				s.end(t, app, syscall.SIGTERM)
				<-time.After(away)
				s.revive(t)
			})
			s.settles(t, l)
		})
	}
}

func TestRule3_NothingIsLostWhenTheBrokerIsKilled(t *testing.T) {
	l := sys.underLoad(t, crowd(), func() {
		sys.kill(t, sys.BrokerPart())
		sys.revive(t)
	})
	sys.settles(t, l)
}

func TestRule3_NothingIsLostWhenTheDatabaseIsShutDownAtOnce(t *testing.T) {
	l := sys.underLoad(t, crowd(), func() {
		sys.end(t, "postgres", syscall.SIGQUIT) // "immediate": no checkpoint, no farewell
		sys.revive(t)
	})
	sys.settles(t, l)
}

func TestRule5_NobodyIsChargedTwiceWhenTheProviderIsKilled(t *testing.T) {
	l := sys.underLoad(t, crowd(), func() {
		sys.kill(t, "psp")
		sys.revive(t)
	})
	sys.settles(t, l)
}

func TestRule7_OrdersWaitForAProviderThatIsDown(t *testing.T) {
	l := sys.underLoad(t, crowd(), func() { sys.providerMode(t, "down", 4*time.Second) })
	sys.settles(t, l)
}

func TestStop_SIGTERMUnderLoadExits0AndLosesNothing(t *testing.T) {
	s, apps := sys, sys.Apps()
	if inOneProcess {
		apps = apps[:1]
	}
	for _, app := range apps {
		t.Run(app, func(t *testing.T) {
			// Started by the test itself, which alone learns the exit status.
			service := s.twin(t, app, 0)
			s.end(t, app, syscall.SIGTERM)
			startTwin(t, service)
			s.awaitTwin(t, app, 0)
			l := s.underLoad(t, crowd()/2, func() {
				stopTwin(t, service, soon)
				s.revive(t)
			})
			s.settles(t, l)
		})
	}
}

func TestReplicas_TwoOfAServiceShareTheWork(t *testing.T) {
	const raise = 50
	s := sys
	for _, app := range fewer([]string{"inventory", "payment"}, "inventory") {
		t.Run(app, func(t *testing.T) {
			pair := []*exec.Cmd{s.twin(t, stack.Sidecar(app), raise), s.twin(t, app, raise)}
			for _, cmd := range pair {
				startTwin(t, cmd)
			}
			s.awaitTwin(t, app, raise)
			l := s.underLoad(t, crowd(), func() {})
			s.settles(t, l)
			s.setStock(t, "shared", map[string]int64{"leeds": 1_000})
			// Which replica is given an event is the broker's choice, so that it takes orders
			// until the second had one.
			eventually(t, settleWithin, "the second replica handles events", func(context.Context) error {
				handled := s.metric(t, raised(s.HealthURL(app), raise), "quadrille_inbox_handled_total")
				if handled == 0 {
					s.expect(t, s.mustPlace(t, basketOf("shared", 1, "tok_success")), confirmed(250))
					return errors.New("it has handled none")
				}
				t.Logf("the second replica handled %v events", handled)
				return nil
			})
			slices.Reverse(pair) // the service first, which publishes through its sidecar
			for _, cmd := range pair {
				stopTwin(t, cmd, soon)
			}
		})
	}
	s.balanced(t)
}
