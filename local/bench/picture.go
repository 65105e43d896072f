package bench

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// A picture is an SVG of two panels over time: throughput and latency.
const (
	pictureWidth  = 920
	pictureHeight = 560
	panelLeft     = 76
	panelWidth    = 800
	panelHeight   = 190
	upperTop      = 74
	lowerTop      = 322
)

type series struct {
	name, colour string
	values       []float64
}

// draw makes the picture of a verified result.
func draw(r *Result) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13" fill="#24292f">`+"\n",
		pictureWidth, pictureHeight)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
	text(&b, panelLeft, 28, "start", 17, fmt.Sprintf("%s, %s: %.0f orders/s, settled p50 %.0f ms, p99 %.0f ms",
		r.Scenario, r.Mode, r.OrdersPerSecond, r.SettledMS.P50, r.SettledMS.P99))
	text(&b, panelLeft, 48, "start", 12, fmt.Sprintf("%d orders, %d cores, %s, %s", r.Orders, r.Machine.Cores,
		r.At.Format("2006-01-02 15:04"), r.Commit))

	seconds := make([]float64, len(r.Timeline))
	rate, p50, p99 := make([]float64, len(seconds)), make([]float64, len(seconds)), make([]float64, len(seconds))
	for i, p := range r.Timeline {
		seconds[i], rate[i], p50[i], p99[i] = p.Second, p.Rate, p.P50, p.P99
	}
	panel(&b, upperTop, "orders settled a second", seconds, []series{{"orders/s", "#1f6feb", rate}})
	panel(&b, lowerTop, "order to settled, ms", seconds, []series{{"p99", "#cf222e", p99}, {"p50", "#1a7f37", p50}})
	text(&b, panelLeft+panelWidth/2, pictureHeight-12, "middle", 12, "seconds since the load began")
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func panel(b *bytes.Buffer, top int, title string, seconds []float64, all []series) {
	highest, end := 0.0, 0.0
	for _, s := range all {
		for _, v := range s.values {
			highest = max(highest, v)
		}
	}
	for _, s := range seconds {
		end = max(end, s)
	}
	step := tick(highest)
	ceiling := max(step, math.Ceil(highest/step)*step)
	y := func(v float64) float64 { return float64(top) + panelHeight*(1-v/ceiling) }
	x := func(s float64) float64 { return panelLeft + panelWidth*s/max(end, 1e-9) }

	for v := 0.0; v <= ceiling+step/2; v += step {
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#d8dee4"/>`+"\n", panelLeft, panelLeft+panelWidth, y(v), y(v))
		text(b, panelLeft-8, y(v)+4, "end", 12, fmt.Sprintf("%g", v))
	}
	across := tick(end)
	for s := 0.0; s <= end; s += across {
		text(b, x(s), float64(top+panelHeight+18), "middle", 12, fmt.Sprintf("%g", s))
	}
	text(b, panelLeft, float64(top-8), "start", 13, title)
	for i, s := range all {
		line(b, s, seconds, x, y)
		text(b, panelLeft+panelWidth-float64(60*(len(all)-1-i)), float64(top-8), "end", 13, s.name, s.colour)
	}
}

func line(b *bytes.Buffer, s series, seconds []float64, x, y func(float64) float64) {
	var points strings.Builder
	for i, v := range s.values {
		fmt.Fprintf(&points, "%.1f,%.1f ", x(seconds[i]), y(v))
	}
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.8" points="%s"/>`+"\n", s.colour, strings.TrimSpace(points.String()))
}

// tick is a round distance that divides a range into about five.
func tick(highest float64) float64 {
	if highest <= 0 {
		return 1
	}
	rough := highest / 5
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= rough {
			return m * power
		}
	}
	return 10 * power
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func text[X, Y int | float64](b *bytes.Buffer, x X, y Y, anchor string, size int, words string, colour ...string) {
	fill := ""
	if len(colour) > 0 {
		fill = fmt.Sprintf(` fill="%s"`, colour[0])
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d"%s>%s</text>`+"\n",
		float64(x), float64(y), anchor, size, fill, escape.Replace(words))
}
