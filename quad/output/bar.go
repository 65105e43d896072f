package output

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Bar shows how far many equal things are: on a terminal as a bar, elsewhere as
// a line now and then.
type Bar struct {
	out   *os.File
	label string
	total int
	began time.Time
	done  atomic.Int64
	quit  chan struct{}
	ended sync.WaitGroup
}

const barWidth = 30

// NewBar returns a bar that has not begun.
func NewBar(out *os.File, label string, total int) *Bar {
	return &Bar{out: out, label: label, total: total, began: time.Now(), quit: make(chan struct{})}
}

// Start shows the bar; one that is not started counts in silence.
func (b *Bar) Start() { b.ended.Go(b.show) }

// Advance counts one thing done; it may be called from several goroutines.
func (b *Bar) Advance() { b.done.Add(1) }

// End stops the bar and leaves one line behind.
func (b *Bar) End() {
	close(b.quit)
	b.ended.Wait()
}

func (b *Bar) show() {
	every, terminal := 5*time.Second, OnTerminal(b.out)
	if terminal {
		every = 80 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if terminal {
				fmt.Fprintf(b.out, "\r\x1b[K%s", b.drawn())
			} else {
				fmt.Fprintln(b.out, b.line())
			}
		case <-b.quit:
			if terminal {
				fmt.Fprint(b.out, "\r\x1b[K")
			}
			fmt.Fprintln(b.out, b.line()+Paint(b.out, Faint, "  "+Seconds(time.Since(b.began))))
			return
		}
	}
}

func (b *Bar) line() string {
	return fmt.Sprintf("  %-16s %d of %d", b.label, b.done.Load(), b.total)
}

func (b *Bar) drawn() string {
	done := int(b.done.Load())
	filled := barWidth * done / max(b.total, 1)
	line := fmt.Sprintf("  %-16s %s%s %d of %d", b.label,
		Paint(b.out, Green, strings.Repeat("━", filled)), Paint(b.out, Faint, strings.Repeat("━", barWidth-filled)), done, b.total)
	took := time.Since(b.began)
	if done > 0 && done < b.total && took > time.Second {
		left := took * time.Duration(b.total-done) / time.Duration(done)
		line += Paint(b.out, Faint, fmt.Sprintf("  %s left", Seconds(left)))
	}
	return line
}

// Seconds writes a duration for people.
func Seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
