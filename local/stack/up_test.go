package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// The whole stack, with `dapr run -f` and real services.
func TestUpRepairsWhatWasKilled(t *testing.T) {
	s, events := newStack(t)
	for _, step := range []func(context.Context) error{s.BuildToolchain, s.Build, s.Up} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	noneInheritsCredentials(t, s)

	for _, test := range []struct {
		name            string
		killed, started []string
	}{
		{name: "nothing"},
		{"a service", []string{"order"}, []string{"order"}},
		{"a sidecar", []string{"payment-daprd"}, []string{"payment-daprd"}},
		{"the infrastructure", []string{"sentry", "scheduler", "psp"}, []string{"sentry", "scheduler", "psp"}},
		{"the CLI of dapr, which held the services", []string{cli}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, part := range test.killed {
				if err := s.Process(part).Kill(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			*events = nil
			if err := s.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
			if started := startedParts(*events); !slices.Equal(started, test.started) {
				t.Errorf("started %q, want %q", started, test.started)
			}
			await(t, func() (err error) { // what has lost its connection to what was killed makes another
				for _, status := range s.Status(t.Context()) {
					if status.PID == 0 || status.Fault != nil {
						err = errors.Join(err, fmt.Errorf("%s: pid %d, %w", status.Part, status.PID, status.Fault))
					}
				}
				return err
			})
		})
	}

	noneInheritsCredentials(t, s)

	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := s.marked(); len(left) > 0 {
		t.Errorf("%d processes are left, %s among them", len(left), left[0].Name)
	}
	for _, status := range s.Status(t.Context()) {
		if _, taken := errors.AsType[*EnvironmentError](status.Fault); taken {
			t.Error(status.Fault)
		}
	}
}

// noneInheritsCredentials checks what services and sidecars were started with: by
// `dapr run -f` at first, alone when they were killed.
func noneInheritsCredentials(t *testing.T, s *Stack) {
	t.Helper()
	secrets := map[string]string{"Redis": s.redis.password, "PostgreSQL": s.postgres.password}
	maps.Copy(secrets, s.passwords) // of all database roles, owners' and the workflows' store's too
	for _, part := range s.serviceParts() {
		for _, file := range []string{"environ", "cmdline"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.Process(part).PID, file))
			if err != nil {
				t.Fatal(err)
			}
			for of, secret := range secrets {
				if strings.Contains(string(text), secret) {
					t.Errorf("%s has the password of %s in its %s", part, of, file)
				}
			}
		}
	}
}

func startedParts(events []Event) []string {
	var parts []string
	for _, e := range events {
		if e.State == Started {
			parts = append(parts, e.Part)
		}
	}
	return parts
}
