package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A bar shows how far many equal things are: on a terminal as a bar, elsewhere as
// a line now and then.
type bar struct {
	out   *os.File
	label string
	total int
	began time.Time
	done  atomic.Int64
	quit  chan struct{}
	ended sync.WaitGroup
}

const barWidth = 30

func newBar(out *os.File, label string, total int) *bar {
	return &bar{out: out, label: label, total: total, began: time.Now(), quit: make(chan struct{})}
}

// start shows the bar; one that is not started counts in silence.
func (b *bar) start() { b.ended.Go(b.show) }

func (b *bar) advance() { b.done.Add(1) }

// end stops the bar and leaves one line behind.
func (b *bar) end() {
	close(b.quit)
	b.ended.Wait()
}

func (b *bar) show() {
	every, terminal := 5*time.Second, onTerminal(b.out)
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
			fmt.Fprintln(b.out, b.line()+paint(b.out, faint, "  "+seconds(time.Since(b.began))))
			return
		}
	}
}

func (b *bar) line() string {
	return fmt.Sprintf("  %-16s %d of %d", b.label, b.done.Load(), b.total)
}

func (b *bar) drawn() string {
	done := int(b.done.Load())
	filled := barWidth * done / max(b.total, 1)
	line := fmt.Sprintf("  %-16s %s%s %d of %d", b.label,
		paint(b.out, green, strings.Repeat("━", filled)), paint(b.out, faint, strings.Repeat("━", barWidth-filled)), done, b.total)
	took := time.Since(b.began)
	if done > 0 && done < b.total && took > time.Second {
		left := took * time.Duration(b.total-done) / time.Duration(done)
		line += paint(b.out, faint, fmt.Sprintf("  %s left", seconds(left)))
	}
	return line
}

// seconds writes a duration for people.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
