// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	_ "embed" // the picture's template
	"fmt"
	"html/template"
	"slices"
	"strings"
)

// column is a column of a table. A column without a value of any server is left out.
type column struct {
	title string
	cell  func(r *results, server string) string
}

// table is a table of the report.
type table struct {
	title, text string
	columns     []column
}

var tables = []table{
	{
		"A hit: CPU of the server", `64 queries in flight, 12 names. The server has a core of its own. dnsperf is one run of that program, with 64 in flight, too.`,
		[]column{
			against("÷ stock", reference, "hits", serverCPU), spreadColumn("µs a query", "hits", serverCPU),
			against("÷ bare loop", "floor", "hits", serverCPU), spreadColumn("queries/s", "hits", rate), lost("hits"),
			spreadColumn("dnsperf: queries/s", byDNSPerf, rate),
		},
	},
	{
		"A hit: CPU of the whole machine", `Client and server share one core. Counted are both processes and ksoftirqd, and so all that the kernel does on their behalf.`,
		[]column{
			against("one at a time: ÷ stock", reference, "hits-same-core-1", sample.machine), spreadColumn("µs a query", "hits-same-core-1", sample.machine),
			against("÷ sent back", "mirror", "hits-same-core-1", sample.machine), spreadColumn("queries/s", "hits-same-core-1", rate),
			against("64 in flight: ÷ stock", reference, "hits-same-core", sample.machine), spreadColumn("µs a query", "hits-same-core", sample.machine),
			against("÷ sent back", "mirror", "hits-same-core", sample.machine), spreadColumn("queries/s", "hits-same-core", rate),
		},
	},
	latency("A hit: latency at 1,000 queries a second", `The client does not sleep, and a program of the class SCHED_IDLE, which gives way to all others, keeps the server's core awake: no time of a CPU's own waking up is in it. Where other machines take CPU time, p99 and p999 are mostly theirs.`, "hits-1000"),
	latency("A hit: latency at 5,000 queries a second", `Likewise.`, "hits-5000"),
	saturation("Zipf over 10,000 names", `Look-ups as C libraries do them: A and AAAA; for a name outside four of the search path first, which do not exist. All names are in the cache.`, "zipf"),
	saturation("Half of them hits", `The other half are names never asked for before, which the cache asks the upstream server for.`, "half"),
	saturation("Misses", `Client and upstream server share a core. CoreDNS asks over TCP as on a node, the others over UDP.`, "misses"),
	latency("Misses: latency at 1,000 queries a second", `The client sleeps here between its queries.`, "misses-1000"),
	saturation("TCP", `dnsperf asks for hits over eight connections that stay open, with eight queries in flight. A server that closes connections has the cost of new ones, and a query on its way then counts as lost.`, "tcp"),
	{
		"Memory", `Resident, in MB, read once when the last answer has come (a Go program has garbage then). Type A only. dnsmasq takes all its memory at the start.`,
		[]column{
			spreadColumn("at start", memory, rss("0")), spreadColumn("10,000 names", memory, rss("10000")),
			against("÷ stock", reference, memory, rss("10000")),
			spreadColumn("100,000 names", memory, rss("100000")), against("÷ stock", reference, memory, rss("100000")),
		},
	},
	{
		"Allocations a query", `Of the Go programs that tell.`,
		[]column{
			spreadColumn("hits", "hits", allocations), spreadColumn("zipf", "zipf", allocations), spreadColumn("half", "half", allocations),
			spreadColumn("misses", "misses", allocations), spreadColumn("TCP", "tcp", allocations),
		},
	},
}

func latency(title, text, m string) table {
	return table{title, text, []column{
		against("p50 ÷ stock", reference, m, p50), against("p99 ÷ stock", reference, m, p99),
		spreadColumn("p50 µs", m, p50), spreadColumn("p99 µs", m, p99), spreadColumn("p999 µs", m, p999), lost(m),
	}}
}

func saturation(title, text, m string) table {
	return table{title, text, []column{
		against("CPU of the server ÷ stock", reference, m, serverCPU), spreadColumn("µs a query", m, serverCPU),
		spreadColumn("queries/s", m, rate), against("p50 ÷ stock", reference, m, p50), spreadColumn("p50 µs", m, p50), lost(m),
	}}
}

func spreadColumn(title, measurement string, v value) column {
	return column{title, func(r *results, server string) string { return r.spread(server, measurement, v).text() }}
}

func against(title, to, measurement string, v value) column {
	return column{title, func(r *results, server string) string {
		s := r.ratio(server, to, measurement, v)
		if s.Count == 0 {
			return ""
		}
		return "**" + number(s.Median, 2) + "**" + s.limits(2)
	}}
}

func lost(measurement string) column {
	return column{"lost", func(r *results, server string) string {
		lost, wrong, sent := r.lost(server, measurement)
		switch {
		case sent == 0:
			return ""
		case lost == 0 && wrong == 0:
			return "0"
		}
		text := fmt.Sprintf("%s of %s", thousands(lost), thousands(sent))
		if wrong > 0 {
			text += fmt.Sprintf(", %s answered wrongly", thousands(wrong))
		}
		return text
	}}
}

// text is the median with the least and the greatest value.
func (s spread) text() string {
	if s.Max == 0 {
		return ""
	}
	digits := 0
	switch {
	case s.Median < 20:
		digits = 2
	case s.Median < 200:
		digits = 1
	}
	return number(s.Median, digits) + s.limits(digits)
}

func (s spread) limits(digits int) string {
	if s.Count < 2 {
		return ""
	}
	return " (" + number(s.Min, digits) + "–" + number(s.Max, digits) + ")"
}

func number(v float64, digits int) string {
	if digits == 0 {
		return thousands(int(v + 0.5))
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// thousands writes a number as in 1,234,567.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// report is the text of results.md.
func report(r *results) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Results of `make bench`\n\n%s.\n\n", r.Machine)
	fmt.Fprintf(&b, "Medians of %d rounds with the least and the greatest; in each round each measurement goes through all servers, %g s each. ", r.Rounds, r.Seconds)
	b.WriteString("Less is better in the columns ÷ stock, which compare within a round. Each server has one core and one thread for queries.\n\n")
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "* %s: %s\n", s.Title, s.Version)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "* **failed**: %s\n", strings.ReplaceAll(f, "\n", " "))
	}
	for _, t := range tables {
		b.WriteString(t.markdown(r))
	}
	return b.String()
}

// markdown leaves out rows and columns without values. It returns nothing for a table without values.
func (t table) markdown(r *results) string {
	var columns []column
	for _, c := range t.columns {
		for _, s := range r.Servers {
			if c.cell(r, s.Name) != "" {
				columns = append(columns, c)
				break
			}
		}
	}
	if len(columns) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| |", t.title, t.text)
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.title)
	}
	fmt.Fprintf(&b, "\n|---|%s\n", strings.Repeat("---|", len(columns)))
	for _, s := range r.Servers {
		row, some := "", false
		for _, c := range columns {
			cell := c.cell(r, s.Name)
			row += " " + cell + " |"
			some = some || cell != ""
		}
		if some {
			fmt.Fprintf(&b, "| %s |%s\n", s.Title, row)
		}
	}
	return b.String()
}

//go:embed plot.svg.tmpl
var plotText string

var plotTemplate = template.Must(template.New("plot").Parse(plotText))

// bar is a server in the picture. Positions and lengths are in the units of the picture.
type bar struct {
	Title, Class            string
	Y                       int
	Width, Low, High, After float64
	Median                  float64
}

// plot draws the servers' CPU time for a hit, the greatest first.
func plot(r *results) string {
	const top, step, left, widest = 80, 32, 250, 390
	var bars []bar
	greatest := 1e-9
	for _, s := range r.Servers {
		if v := r.spread(s.Name, "hits", serverCPU); v.Count > 0 {
			class := "bar"
			if s.Name == servers[0].name {
				class = "ours"
			}
			bars = append(bars, bar{Title: s.Title, Class: class, Median: v.Median, Low: v.Min, High: v.Max})
			greatest = max(greatest, v.Max)
		}
	}
	slices.SortStableFunc(bars, func(a, b bar) int { return cmp.Compare(b.Median, a.Median) })
	for i := range bars {
		b, scale := &bars[i], widest/greatest
		b.Y, b.Width, b.Low, b.High = top+i*step, b.Median*scale, left+b.Low*scale, left+b.High*scale
		b.After = b.High + 8
	}
	var svg strings.Builder
	err := plotTemplate.Execute(&svg, map[string]any{
		"Title": "CPU time of the server for a cached answer, in µs", "Height": top + step*len(bars) + 12,
		"Rounds": r.Rounds, "CPU": r.Machine.CPU, "Bars": bars,
	})
	if err != nil {
		panic(err) // the template is wrong
	}
	return svg.String()
}
