package cart

import (
	"encoding/json"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// pushEvery is how often one browser is told something, at most; pushRate is how many
	// are told in a second, so that very many share what the machine has for them. Each is
	// told what is newest at its turn.
	pushEvery = 250 * time.Millisecond
	pushRate  = 50_000
	// beatEvery is how often a browser is told the age of what it shows.
	beatEvery = 10 * time.Second
)

// watcher is a browser that looks at the stock of some SKUs. What it takes does not grow,
// however slow the browser is: of each SKU there is one version.
type watcher struct {
	of     *levels
	levels []*level // by SKU
	// list tells lists of SKUs apart.
	list string
	// sent are the versions that the browser has; -1 is not even that there is none.
	sent []int64
	wake chan struct{}
}

// watchStock begins to watch SKUs for a browser that has seen the frame with the id last. It
// returns nil where there is no room.
func (v *levels) watchStock(skus []string, lastID string, now time.Time) *watcher {
	skus = slices.Compact(slices.Sorted(slices.Values(skus)))
	w := &watcher{of: v, list: listOf(skus), wake: make(chan struct{}, 1)}
	w.sent = versionsOf(lastID, w.list, len(skus))
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, sku := range skus {
		l := v.level(sku, now)
		if l == nil {
			v.drop(w, now)
			return nil
		}
		l.watchers[w] = struct{}{}
		w.levels = append(w.levels, l)
	}
	v.watchers++
	w.signal()
	return w
}

// end ends it.
func (w *watcher) end(now time.Time) {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	w.of.watchers--
	w.of.drop(w, now)
}

// drop wants the lock.
func (v *levels) drop(w *watcher, now time.Time) {
	for _, l := range w.levels {
		delete(l.watchers, w)
		l.usedAt = now
	}
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// pause is how long the browser is to wait after it was told something.
func (w *watcher) pause() time.Duration {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	return max(pushEvery, time.Duration(w.of.watchers)*time.Second/pushRate)
}

// stock is one SKU in a frame.
type stock struct {
	SKU string `json:"sku"`
	shown
}

// frame returns what is to be sent: the levels that changed, or all, with their age. It is
// nil where there is nothing.
func (w *watcher) frame(all bool, now time.Time) []byte {
	list := w.take(all, now)
	if len(list) == 0 {
		return nil
	}
	data, err := json.Marshal(struct {
		Levels []stock `json:"levels"`
	}{list})
	if err != nil {
		return nil // texts and numbers
	}
	b := make([]byte, 0, len(data)+64)
	b = append(b, "event: stock\nid: "...)
	b = append(b, w.id()...)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

func (w *watcher) take(all bool, now time.Time) (list []stock) {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	for i, l := range w.levels {
		if l.version != w.sent[i] || all {
			list = append(list, stock{SKU: l.sku, shown: w.of.show(l, now)})
			w.sent[i] = l.version
		}
	}
	return list
}

// id names what the browser has after a frame, so that a replica which never saw it goes on
// from there.
func (w *watcher) id() string {
	var b strings.Builder
	b.WriteString(w.list)
	for _, version := range w.sent {
		b.WriteByte('.')
		b.WriteString(strconv.FormatInt(version, 36))
	}
	return b.String()
}

func listOf(skus []string) string {
	h := fnv.New32a()
	for _, sku := range skus {
		_, _ = h.Write([]byte(sku + "\n")) // never fails
	}
	return strconv.FormatUint(uint64(h.Sum32()), 36)
}

// versionsOf reads an id. What is not an id of this list says that the browser has nothing.
func versionsOf(id, list string, n int) []int64 {
	nothing := slices.Repeat([]int64{-1}, n)
	part := strings.Split(id, ".")
	if len(part) != n+1 || part[0] != list {
		return nothing
	}
	versions := make([]int64, n)
	for i, text := range part[1:] {
		v, err := strconv.ParseInt(text, 36, 64)
		if err != nil || v < -1 {
			return nothing
		}
		versions[i] = v
	}
	return versions
}
