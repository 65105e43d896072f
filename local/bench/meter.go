package bench

import (
	"fmt"
	"time"
)

// A meter shows how a run is getting on.
type meter struct {
	trial *trial
	at    time.Time
	last  int
	rate  float64
}

func newMeter(t *trial) *meter { return &meter{trial: t, at: time.Now()} }

func (m *meter) show(settled int) {
	if d := time.Since(m.at); d > time.Second {
		m.rate = float64(settled-m.last) / d.Seconds()
		m.at, m.last = time.Now(), settled
	}
	l := m.trial.load
	line := fmt.Sprintf("%s: %d of %d placed, %d settled, %.0f/s", m.trial.scenario.Name,
		l.accepted.Load(), len(l.placed), settled, m.rate)
	if shed := l.shed.Load(); shed > 0 {
		line += fmt.Sprintf(", %d told to come back", shed)
	}
	m.trial.Live(line)
}
