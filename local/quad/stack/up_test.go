package stack

import (
	"context"
	"errors"
	"slices"
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

	for _, test := range []struct {
		name            string
		killed, started []string
	}{
		{name: "nothing"},
		{"a service", []string{"order"}, []string{"order"}},
		{"a sidecar", []string{"payment-daprd"}, []string{"payment-daprd"}},
		{"the infrastructure", []string{"scheduler", "psp"}, []string{"scheduler", "psp"}},
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
			for _, status := range s.Status(t.Context()) {
				if status.PID == 0 || status.Fault != nil {
					t.Errorf("%s: pid %d, %v", status.Part, status.PID, status.Fault)
				}
			}
		})
	}

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

func startedParts(events []Event) []string {
	var parts []string
	for _, e := range events {
		if e.State == Started {
			parts = append(parts, e.Part)
		}
	}
	return parts
}
