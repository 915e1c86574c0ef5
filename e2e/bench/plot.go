// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"
)

// Of the picture, in its own units.
const (
	plotWidth = 720
	barTop    = 80
	barStep   = 32
	barHeight = 20
	barLeft   = 250
	barWidth  = plotWidth - barLeft - 80 // with room for the number
)

// The picture follows the reader's choice of light or dark; where it cannot it is light.
const plotHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">
<style>
  text { font: 14px system-ui, sans-serif; fill: #1f2328; }
  .dim { font-size: 12px; fill: #59636e; }
  .paper { fill: #ffffff; }
  .bar { fill: #8c959f; }
  .ours { fill: #0969da; }
  .limits { stroke: #1f2328; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .dim { fill: #9198a1; }
    .paper { fill: #0d1117; }
    .bar { fill: #656c76; }
    .ours { fill: #4493f8; }
    .limits { stroke: #f0f6fc; }
  }
</style>
<rect class="paper" width="100%%" height="100%%"/>
<text x="16" y="28" font-weight="bold">%s</text>
<text class="dim" x="16" y="48">64 queries in flight; medians of %d rounds, with the least and the greatest</text>
<text class="dim" x="16" y="64">%s</text>
`

const plotTitle = "CPU time of the server for a cached answer, in µs"

// bar is one server's.
type bar struct {
	name, title string
	spread      spread
}

// plot draws the servers' CPU time for a hit, the greatest first.
func plot(r *results) string {
	var bars []bar
	greatest := 1e-9
	for _, s := range r.Servers {
		if v := r.spread(s.Name, "hits", serverCPU); v.Count > 0 {
			bars = append(bars, bar{s.Name, s.Title, v})
			greatest = max(greatest, v.Max)
		}
	}
	slices.SortStableFunc(bars, func(a, b bar) int { return cmp.Compare(b.spread.Median, a.spread.Median) })
	var b strings.Builder
	fmt.Fprintf(&b, plotHead, plotWidth, barTop+barStep*len(bars)+12, plotTitle, plotTitle, r.Rounds, html.EscapeString(r.Machine.CPU))
	for i, one := range bars {
		b.WriteString(one.svg(barTop+i*barStep, barWidth/greatest))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (b bar) svg(y int, scale float64) string {
	class := "bar"
	if b.name == servers[0].name {
		class = "ours"
	}
	middle := y + barHeight/2
	low, high := barLeft+b.spread.Min*scale, barLeft+b.spread.Max*scale
	return fmt.Sprintf(`<text x="%d" y="%d" text-anchor="end">%s</text>
<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>
<line class="limits" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>
<text x="%.1f" y="%d">%.1f</text>
`, barLeft-10, middle+5, html.EscapeString(b.title), class, barLeft, y, b.spread.Median*scale, barHeight,
		low, middle, high, middle, high+8, middle+5, b.spread.Median)
}
