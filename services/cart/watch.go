package cart

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"
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
	// buffer is for the next frame.
	buffer []byte
	// wake says that it is its turn.
	wake chan struct{}
	turn turn
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
	v.watchers.Add(1)
	v.turns.join(w, now)
	return w
}

// end ends it.
func (w *watcher) end(now time.Time) {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	w.of.watchers.Add(-1)
	w.of.drop(w, now)
	w.of.turns.leave(w)
}

// drop wants the lock.
func (v *levels) drop(w *watcher, now time.Time) {
	for _, l := range w.levels {
		delete(l.watchers, w)
		l.usedAt = now
	}
}

// frame returns what must be sent: the levels that changed, or all, with their age. It is
// nil where there is nothing, and good until the next is asked for. It takes no lock and no
// memory: all browsers of a SKU come at once.
func (w *watcher) frame(all bool, now time.Time) []byte {
	b := append(w.buffer[:0], "event: stock\ndata: {\"levels\":["...)
	first := len(b)
	for i, l := range w.levels {
		r := l.now.Load()
		if r.version == w.sent[i] && !all {
			continue
		}
		w.sent[i] = r.version
		if len(b) > first {
			b = append(b, ',')
		}
		b = w.of.appendStock(b, l.sku, r, now)
	}
	if len(b) == first {
		return nil
	}
	b = append(b, "]}\nid: "...)
	b = append(w.appendID(b), "\n\n"...)
	w.buffer = b
	return b
}

// appendStock appends a level in JSON. A SKU has no characters to escape.
func (v *levels) appendStock(b []byte, sku string, r *reading, now time.Time) []byte {
	b = append(b, `{"sku":"`...)
	b = append(b, sku...)
	if !r.known {
		return append(b, `","available":null}`...)
	}
	b = append(b, `","available":`...)
	b = strconv.AppendInt(b, r.available, 10)
	b = append(b, `,"age_ms":`...)
	return append(strconv.AppendInt(b, v.age(r, now), 10), '}')
}

// appendID appends a name of what the browser has after a frame, so that a replica which never saw it goes on
// from there.
func (w *watcher) appendID(b []byte) []byte {
	b = append(b, w.list...)
	for _, version := range w.sent {
		b = strconv.AppendInt(append(b, '.'), version, 36)
	}
	return b
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
