package inbox

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
)

// Rare failures do not add up, while those that stopped parking do not wear off.
func TestFailuresOfLongAgoDoNotCount(t *testing.T) {
	for name, c := range map[string]struct {
		apart time.Duration
		tend  bool
		held  int
	}{
		"rare":              {apart: time.Hour},
		"rare, tended":      {apart: time.Hour, tend: true},
		"one after another": {apart: time.Minute, held: 16},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBreaker("order", slog.New(slog.DiscardHandler))
			now, held := time.Now(), 0
			for range 20 {
				if b.refuse(t.Context(), uuid.New(), "payment.completed", errors.New("bad"), now) {
					held++
				}
				now = now.Add(c.apart)
				if c.tend {
					b.tend(t.Context(), now)
				}
			}
			if held != c.held {
				t.Errorf("%d of 20 were not parked, want %d", held, c.held)
			}
			if c.tend && b.noted.Load() {
				t.Error("failures of long ago are still noted")
			}
		})
	}
}
