// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"
)

// TestDraw draws one panel of each kind: the picture is XML, and has all that is to be read.
func TestDraw(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(values ...float64) (s Series) {
		for i, v := range values {
			s.Points = append(s.Points, Point{begin.Add(time.Duration(i) * Interval), v})
		}
		return s
	}
	gap := at(1, 1, 1, 1)
	gap.Points = append(gap.Points[:1], gap.Points[2:]...)
	text := Draw("A & B", []Panel{
		{Kind: "row", Title: "Row", W: 24, H: 1},
		{Kind: "stat", Title: "Ratio", Unit: "percentunit", Y: 1, W: 4, H: 4, Series: []Series{at(0.5, 0.25)}, Legends: []string{"hits"}},
		{Kind: "timeseries", Title: "Memory", Unit: "bytes", Y: 5, W: 8, H: 8, Series: []Series{at(1e6, 9e6), gap}, Legends: []string{"one", "two"}},
	}, []Mark{{begin.Add(Interval), "it rains"}}, begin, begin.Add(4*Interval))
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	for _, want := range []string{"A &amp; B", ">Row<", ">Ratio<", ">25 %<", ">Memory<", ">10 MB<", ">one<", ">two<", "1  it rains"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
	lines := strings.Split(text, `class="line"`)
	if moves := strings.Count(lines[len(lines)-1], "M"); moves != 2 {
		t.Errorf("%d parts of a line with one value missing:\n%s", moves, text)
	}
}

func TestNice(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 1: 1, 0.15: 0.2, 21: 50, 501: 1000, 0.25: 0.5} {
		if got := nice(v); got != want {
			t.Errorf("nice(%g) = %g, want %g", v, got, want)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, test := range []struct {
		v          float64
		unit, want string
	}{
		{0.905, "percentunit", "90.5 %"}, {5e7, "bytes", "50 MB"}, {0.002, "s", "2 ms"}, {4, "s", "4 s"}, {150, "reqps", "150/s"}, {3, "short", "3"},
	} {
		if got := format(test.v, test.unit); got != test.want {
			t.Errorf("%g %s is written %s, want %s", test.v, test.unit, got, test.want)
		}
	}
}
