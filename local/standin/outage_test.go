package standin

import (
	"testing"
	"time"
)

var start = time.Unix(1700000000, 0)

func TestOutageEndsByItself(t *testing.T) {
	var o outage
	o.set(start, modeParams{Mode: ModeDown, ForMS: 1000})
	for after, want := range map[time.Duration]Mode{0: ModeDown, time.Second - 1: ModeDown, time.Second: ModeOK} {
		if mode, _ := o.next(start.Add(after), true); mode != want {
			t.Errorf("after %s: %s, want %s", after, mode, want)
		}
	}
	o.set(start, modeParams{Mode: ModeDown})
	if mode, _ := o.next(start.Add(maxOutage), true); mode != ModeDown {
		t.Errorf("an outage without an end became %s", mode)
	}
}

func TestOutageOfTheNextThreeCalls(t *testing.T) {
	var o outage
	o.set(start, modeParams{Mode: ModeLoseReply, Count: 3})
	for call := 1; call <= 3; call++ {
		if mode, _ := o.next(start, false); mode != ModeOK {
			t.Fatalf("a call that changes nothing suffers from %s", mode)
		}
		if mode, n := o.next(start, true); mode != ModeLoseReply || n != call {
			t.Fatalf("call %d: %s, number %d", call, mode, n)
		}
	}
	if mode, _ := o.next(start, true); mode != ModeOK {
		t.Fatalf("the fourth call suffers from %s", mode)
	}
	o.set(start, modeParams{Mode: ModeFlaky, Count: 1})
	if mode, _ := o.next(start, false); mode != ModeFlaky {
		t.Fatalf("a set mode does not count afresh: %s", mode)
	}
}

func TestOutageOfAShareOfTheCalls(t *testing.T) {
	var o outage
	o.set(start, modeParams{Mode: ModeFlaky, Ratio: 0.3})
	suffered := 0
	for range 10_000 {
		if mode, _ := o.next(start, true); mode == ModeFlaky {
			suffered++
		}
	}
	if suffered < 2700 || suffered > 3300 { // six and a half standard deviations
		t.Fatalf("%d of 10000 suffered", suffered)
	}
}

func TestModeParams(t *testing.T) {
	for param, p := range map[string]modeParams{
		"":       {Mode: ModeFlaky, ForMS: 1, Ratio: 1, Count: 1},
		"mode":   {Mode: ModeSlow},
		"for_ms": {Mode: ModeOK, ForMS: maxOutage.Milliseconds() + 1},
		"ratio":  {Mode: ModeOK, Ratio: 1.1},
		"count":  {Mode: ModeOK, Count: -1},
	} {
		err := p.check([]Mode{ModeOK, ModeFlaky})
		if fault, refused := err.(*Error); refused != (param != "") || refused && fault.Param != param { //nolint:errorlint // never wrapped
			t.Errorf("%+v: %v, want a fault in %q", p, err, param)
		}
	}
}
