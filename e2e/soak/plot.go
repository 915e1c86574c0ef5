// SPDX-License-Identifier: Apache-2.0

package soak

import (
	_ "embed" // the picture's template
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

//go:embed plot.svg.tmpl
var plotText string

var plotTemplate = template.Must(template.New("plot").Parse(plotText))

// The picture, in its own units.
const (
	left, right            = 130, 940 // of the time's axis
	top                    = 62
	trackStep              = 20
	panelStep, panelHeight = 124, 84
)

// track has the marks of the events of a group.
type track struct {
	Title string
	Y     int
	Marks []mark
}

type mark struct{ X, Width float64 }

// panel is a quantity over the time.
type panel struct {
	Title, Most string
	Y, Height   int
	Lines       []string // points, one line for each process
	Bars        []bar
}

type bar struct{ X, Y, Width, Height float64 }

type tick struct {
	X    float64
	Text string
}

// x is where a moment is in the picture.
func (r *Results) x(at float64) float64 { return left + (right-left)*at/max(1, r.Seconds) }

// Plot draws the soak as an SVG picture: the events, what the processes had, and the queries that were lost.
func (r *Results) Plot() string {
	tracks := r.tracks()
	panels := []panel{
		r.curve("memory, MB", func(s Sample) float64 { return float64(s.RSS) / (1 << 20) }),
		r.curve("goroutines", func(s Sample) float64 { return float64(s.Goroutines) }),
		r.curve("descriptors", func(s Sample) float64 { return float64(s.Files) }),
		r.losses("lost in 5 s: known names, TCP", Known, TCP),
		r.losses("lost in 5 s: new names", New),
	}
	begin := top + trackStep*len(tracks) + 26
	for i := range panels {
		panels[i].Y, panels[i].Height = begin+panelStep*i, panelHeight
	}
	axis := begin + panelStep*len(panels) - 20
	var ends []float64
	for _, p := range r.Processes {
		if p.Ended != "" {
			ends = append(ends, r.x(p.End))
		}
	}
	var svg strings.Builder
	err := plotTemplate.Execute(&svg, map[string]any{
		"Title": fmt.Sprintf("A soak of %.0f minutes: %s queries, %d events", r.Seconds/60, thousands(r.queries()), len(r.Events)),
		"Text":  fmt.Sprintf("%s, seed %d. A grey line down the picture is the end of a process.", r.Date, r.Seed),
		"Left":  left, "Right": right, "Top": top - 8, "Axis": axis, "Height": axis + 44,
		"Tracks": tracks, "Panels": panels, "Ends": ends, "Ticks": r.ticks(),
	})
	if err != nil {
		panic(err) // the template is wrong
	}
	return svg.String()
}

// tracks are the groups of events, in the order of their kinds.
func (r *Results) tracks() (tracks []track) {
	groups := map[string]string{}
	for _, k := range r.Kinds {
		groups[k.Name] = k.Group
		if !slices.ContainsFunc(tracks, func(t track) bool { return t.Title == k.Group }) {
			tracks = append(tracks, track{Title: k.Group, Y: top + trackStep*len(tracks)})
		}
	}
	for _, e := range r.Events {
		for i := range tracks {
			if t := &tracks[i]; t.Title == groups[e.Kind] {
				t.Marks = append(t.Marks, mark{r.x(e.Begin), max(2, r.x(e.End)-r.x(e.Begin))})
			}
		}
	}
	return tracks
}

// curve is a quantity of all processes.
func (r *Results) curve(title string, of func(Sample) float64) panel {
	most := 1.0
	for _, s := range r.Samples {
		most = max(most, of(s))
	}
	lines := make([]strings.Builder, len(r.Processes))
	for _, s := range r.Samples {
		fmt.Fprintf(&lines[s.Process], "%.1f,%.1f ", r.x(s.At), panelHeight*(1-of(s)/most))
	}
	p := panel{Title: title, Most: thousands(int(math.Round(most)))}
	for i := range lines {
		p.Lines = append(p.Lines, strings.TrimSpace(lines[i].String()))
	}
	return p
}

// losses is how many queries of the classes were lost of those that were sent in an interval.
func (r *Results) losses(title string, classes ...Class) panel {
	const interval = 5.0
	counts, most := map[int]int{}, 0
	for _, f := range r.Failures {
		if slices.Contains(classes, f.Class) {
			i := int(max(0, f.At) / interval)
			counts[i]++
			most = max(most, counts[i])
		}
	}
	p := panel{Title: title, Most: thousands(most)}
	for i, n := range counts {
		height := panelHeight * float64(n) / float64(most)
		p.Bars = append(p.Bars, bar{r.x(float64(i) * interval), panelHeight - height, max(1.5, r.x(interval)-r.x(0)), height})
	}
	slices.SortFunc(p.Bars, func(a, b bar) int { return int(math.Copysign(1, a.X-b.X)) })
	return p
}

// ticks are the marks of the time's axis.
func (r *Results) ticks() (ticks []tick) {
	step := 1.0 // minutes
	for r.Seconds/60/step > 8 {
		step = map[float64]float64{1: 2, 2: 5, 5: 10, 10: 30}[step]
		if step == 0 {
			step = 60
			break
		}
	}
	for m := 0.0; m <= r.Seconds/60; m += step {
		ticks = append(ticks, tick{r.x(m * 60), fmt.Sprintf("%.0f min", m)})
	}
	return ticks
}
