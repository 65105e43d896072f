package main

import (
	"errors"
	"testing"

	"quadrille.internal/local/stack"
)

func TestDoctor_TellsOfSlots(t *testing.T) {
	for name, c := range map[string]struct {
		slot stack.Slot
		ok   bool
	}{
		"read":       {stack.Slot{Status: "reserved", Read: true, Behind: 1 << 10, Left: 1 << 30}, true},
		"none":       {stack.Slot{}, false},
		"lost":       {stack.Slot{Status: "lost"}, false},
		"not read":   {stack.Slot{Status: "reserved"}, false},
		"far behind": {stack.Slot{Status: "extended", Read: true, Behind: 1 << 30}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := checkSlots(map[string]stack.Slot{"order": c.slot}, nil)
			if len(f) != 1 || f[0].OK != c.ok || f[0].Check != "slot of order" || !c.ok && f[0].Remedy == "" {
				t.Errorf("%+v, want ok %v and otherwise a remedy", f, c.ok)
			}
		})
	}
	if f := checkSlots(nil, errors.New("away")); len(f) != 1 || f[0].OK {
		t.Errorf("%+v, want a fault", f)
	}
}
