// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"
)

// Panel is one of a dashboard, at its place in Grafana's grid of 24 columns.
type Panel struct {
	Kind       string // of Grafana: "row", "stat" or "timeseries"
	Title      string
	Unit       string // Grafana's name
	X, Y, W, H int
	Series     []Series
	Legends    []string // of Series
}

// Mark is a moment at which something happens to what is measured.
type Mark struct {
	Time  time.Time
	Label string
}

// The picture's measures, in pixels.
const (
	column, unit = 60, 30 // of the grid: its width and its height
	top          = 84     // above the panels
	left, right  = 58, 24 // beside the plot of a panel
	head         = 30     // above the plot
)

const style = `<style>
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .dim { font-size: 11px; fill: #59636e; }
  .title { font-weight: 600; font-size: 13px; }
  .row { font-weight: 600; font-size: 14px; }
  .value { font-size: 36px; fill: #1a7f37; }
  .paper { fill: #f6f8fa; }
  .card { fill: #ffffff; stroke: #d1d9e0; }
  .grid { stroke: #d1d9e0; stroke-width: 0.6; }
  .mark { stroke: #9a6700; stroke-width: 0.8; stroke-dasharray: 2 3; }
  .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .dim { fill: #9198a1; }
    .value { fill: #3fb950; }
    .paper { fill: #010409; }
    .card { fill: #0d1117; stroke: #3d444d; }
    .grid { stroke: #3d444d; }
  }
</style>
`

var colours = []string{"#1f77b4", "#e8710a", "#2da44e", "#cf222e", "#8250df", "#8c6d31", "#bf3989", "#57a6a1"}

// picture is an SVG file that is being written.
type picture struct {
	strings.Builder
	begin, end time.Time
	marks      []Mark
}

// Draw makes an SVG picture of a dashboard between two times.
func Draw(title string, panels []Panel, marks []Mark, begin, end time.Time) string {
	p := &picture{begin: begin, end: end, marks: marks}
	height := 0
	for _, panel := range panels {
		height = max(height, top+(panel.Y+panel.H)*unit+10)
	}
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n%s", 24*column+20, height, html.EscapeString(title), style)
	p.printf(`<rect class="paper" width="100%%" height="100%%"/>` + "\n")
	p.text(16, 28, "row", "start", title)
	half := (len(marks) + 1) / 2
	for i, m := range marks {
		p.text(16+460*float64(i%half), 50+18*float64(i/half), "dim", "start", fmt.Sprintf("%d  %s", i+1, m.Label))
	}
	for _, panel := range panels {
		p.panel(panel)
	}
	p.printf("</svg>\n")
	return p.String()
}

func (p *picture) printf(format string, args ...any) { fmt.Fprintf(p, format, args...) }

func (p *picture) text(x, y float64, class, anchor, text string) {
	p.printf(`<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, html.EscapeString(text))
}

func (p *picture) panel(panel Panel) {
	p.printf(`<g transform="translate(%d %d)">`+"\n", 10+panel.X*column, top+panel.Y*unit)
	defer p.printf("</g>\n")
	w, h := float64(panel.W*column), float64(panel.H*unit)
	if panel.Kind == "row" {
		p.text(6, h-8, "row", "start", panel.Title)
		return
	}
	p.printf(`<rect class="card" x="4" y="4" width="%.0f" height="%.0f" rx="4"/>`+"\n", w-8, h-8)
	p.text(14, 22, "title", "start", panel.Title)
	if panel.Kind == "stat" {
		points := panel.Series[0].Points
		p.text(w/2, h/2+26, "value", "middle", format(points[len(points)-1].Value, panel.Unit))
		return
	}
	p.plot(panel, w-left-right, h-head-16*float64(legendLines(panel, w))-34)
	p.legend(panel, w, h)
}

// plot draws the axes, the marks and the lines.
func (p *picture) plot(panel Panel, w, h float64) {
	highest := 0.0
	for _, s := range panel.Series {
		for _, pt := range s.Points {
			highest = max(highest, pt.Value)
		}
	}
	step := nice(highest / 4)
	scale := h / (step * math.Max(1, math.Ceil(highest/step-0.1))) // a line may end a little above the uppermost label
	p.printf(`<g transform="translate(%d %d)">`+"\n", left, head+6)
	defer p.printf("</g>\n")
	for v := 0.0; v*scale <= h+0.1; v += step {
		p.printf(`<path class="grid" d="M0 %.1fH%.1f"/>`+"\n", h-v*scale, w)
		p.text(-6, h-v*scale+4, "dim", "end", format(v, panel.Unit))
	}
	for s := time.Duration(0); s <= p.end.Sub(p.begin); s += 15 * time.Second {
		p.text(p.x(p.begin.Add(s), w), h+15, "dim", "middle", fmt.Sprintf("%.0f s", s.Seconds()))
	}
	for i, m := range p.marks {
		p.printf(`<path class="mark" d="M%.1f 0V%.1f"/>`+"\n", p.x(m.Time, w), h)
		p.text(p.x(m.Time, w), -2, "dim", "middle", fmt.Sprint(i+1))
	}
	for i, s := range panel.Series {
		p.printf(`<path class="line" stroke="%s" d="`, colours[i%len(colours)])
		for j, pt := range s.Points {
			to := "L"
			if j == 0 || pt.Time.Sub(s.Points[j-1].Time) > 3*Interval/2 { // values are missing in between
				to = "M"
			}
			p.printf("%s%.1f %.1f", to, p.x(pt.Time, w), h-pt.Value*scale)
		}
		p.printf(`"/>` + "\n")
	}
}

func (p *picture) x(t time.Time, w float64) float64 {
	return w * t.Sub(p.begin).Seconds() / p.end.Sub(p.begin).Seconds()
}

// legend is below the plot, in as many lines as it needs.
func (p *picture) legend(panel Panel, w, h float64) {
	x, y := 14.0, h-14-16*float64(legendLines(panel, w)-1)
	for i, text := range panel.Legends {
		if need := legendWidth(text); x > 14 && x+need > w-8 {
			x, y = 14, y+16
		}
		p.printf(`<rect x="%.1f" y="%.1f" width="12" height="3" fill="%s"/>`+"\n", x, y-5, colours[i%len(colours)])
		p.text(x+16, y, "dim", "start", text)
		x += legendWidth(text)
	}
}

func legendLines(panel Panel, w float64) int {
	lines, x := 1, 14.0
	for _, text := range panel.Legends {
		if need := legendWidth(text); x > 14 && x+need > w-8 {
			lines, x = lines+1, 14
		}
		x += legendWidth(text)
	}
	return lines
}

func legendWidth(text string) float64 { return 30 + 6.8*float64(len(text)) }

// nice is the least of 1, 2 and 5 times a power of ten that is no less than v; 1 for 0.
func nice(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v*0.999 {
			return m * power
		}
	}
	return 10 * power
}

// format writes a value with its unit.
func format(v float64, unit string) string {
	switch {
	case unit == "percentunit":
		return fmt.Sprintf("%.3g %%", 100*v)
	case unit == "bytes":
		return fmt.Sprintf("%.3g MB", v/1e6)
	case unit == "s" && v > 0 && v < 1:
		return fmt.Sprintf("%.3g ms", 1000*v)
	case unit == "reqps" || unit == "cps":
		return fmt.Sprintf("%.3g/s", v)
	case unit == "s":
		return fmt.Sprintf("%.3g s", v)
	}
	return fmt.Sprintf("%.3g", v)
}
