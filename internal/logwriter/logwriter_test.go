// SPDX-License-Identifier: Apache-2.0

package logwriter

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// reader is the output of a Writer. While it is shut, a write blocks.
type reader struct {
	gate sync.RWMutex
	mu   sync.Mutex
	text strings.Builder
}

func (r *reader) Write(p []byte) (int, error) {
	r.gate.RLock()
	defer r.gate.RUnlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// close ends the goroutine of w after all lines are written. Nobody may write to w any more.
func (w *Writer) close() {
	w.Flush(time.Hour)
	close(w.wake)
}

func (r *reader) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Split(strings.TrimSuffix(r.text.String(), "\n"), "\n")
}

// counts returns the values of the metric.
func counts(t *testing.T) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, reason := range []string{reasonFull, reasonRate, reasonError} {
		var m dto.Metric
		if err := dropped.WithLabelValues(reason).(prometheus.Metric).Write(&m); err != nil {
			t.Fatal(err)
		}
		got[reason] = int(m.GetCounter().GetValue())
	}
	return got
}

func TestOrder(t *testing.T) {
	r := &reader{}
	w := New(r)
	for i := range 1000 {
		fmt.Fprintf(w, "[INFO] line %d\n", i)
	}
	w.close()
	got := r.lines()
	if len(got) != 1000 || got[0] != "[INFO] line 0" || got[999] != "[INFO] line 999" {
		t.Errorf("%d lines, the first %q", len(got), got[0])
	}
}

// broken is an output that fails, like a full disk.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestWriteFails counts the lines that cannot be written.
func TestWriteFails(t *testing.T) {
	before := counts(t)
	w := New(broken{})
	fmt.Fprintln(w, "[INFO] one")
	fmt.Fprintln(w, "[INFO] two")
	w.close()
	if got := counts(t)[reasonError] - before[reasonError]; got != 2 {
		t.Errorf("%d lines counted, want 2", got)
	}
}

// TestNobodyReads fills the queue. No call waits, lost lines are counted, and a line in their place has their number.
func TestNobodyReads(t *testing.T) {
	before := counts(t)
	r := &reader{}
	r.gate.Lock()
	w := New(r)
	const more = 50
	for i := range maxLines + more + 1 {
		fmt.Fprintf(w, "[INFO] line %d\n", i)
		if i == 0 { // that one is on its way to the reader
			awaitTaken(t, w)
		}
	}
	begin := time.Now()
	w.Flush(10 * time.Millisecond)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("waited %s for the reader", took)
	}
	if n := counts(t)[reasonFull] - before[reasonFull]; n != more {
		t.Errorf("%d lines dropped, want %d", n, more)
	}
	r.gate.Unlock()
	w.Flush(10 * time.Second)
	fmt.Fprintln(w, "[INFO] the reader is back")
	w.close()
	got := r.lines()
	want := fmt.Sprintf("%s%d lines of the log are missing here: nobody read it", prefix, more)
	if n := len(got); n != maxLines+3 || got[n-2] != want || got[n-1] != "[INFO] the reader is back" {
		t.Errorf("%d lines, the last ones %q", n, got[n-2:])
	}
}

func awaitTaken(t *testing.T, w *Writer) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		taken := len(w.lines) == 0
		w.mu.Unlock()
		if taken {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the first line is not written")
		}
	}
}

// TestFatal checks that Write returns after the line is written, since the process ends then, and that a blocked reader does not delay Write for long.
func TestFatal(t *testing.T) {
	r := &reader{}
	w := New(r)
	fmt.Fprintln(w, "[FATAL] plugin/loop: Loop detected")
	if got := r.lines(); len(got) != 1 || got[0] != "[FATAL] plugin/loop: Loop detected" {
		t.Errorf("got %q", got)
	}
	r.gate.Lock()
	begin := time.Now()
	fmt.Fprintln(w, "[FATAL] plugin/loop: Loop detected")
	if took := time.Since(begin); took < EndPatience || took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	r.gate.Unlock()
	w.close()
}

// TestOctets bounds long lines by their length.
func TestOctets(t *testing.T) {
	r := &reader{}
	r.gate.Lock()
	w := New(r)
	line := []byte(strings.Repeat("x", 64<<10-1) + "\n")
	for range 100 {
		_, _ = w.Write(line)
	}
	w.mu.Lock()
	octets, lost := w.octets, w.lost
	w.mu.Unlock()
	if octets > maxOctets || octets < maxOctets/2 || lost == 0 {
		t.Errorf("%d octets wait, %d lines are lost", octets, lost)
	}
	r.gate.Unlock()
	w.close()
}

// TestRate writes a flood of one kind of line. Lines of other kinds are written.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := counts(t)
		r := &reader{}
		w := New(r)
		const flood, seconds = 1000, 10
		for range seconds {
			for i := range flood {
				fmt.Fprintf(w, "[ERROR] plugin/errors: 2 %d.example. A: i/o timeout\n", i)
			}
			fmt.Fprintln(w, "[WARNING] plugin/nodelocal: Link put back")
			fmt.Fprintln(w, "[INFO] plugin/log: a query")
			synctest.Wait()
			time.Sleep(time.Second)
		}
		time.Sleep(sumInterval)
		w.close()
		got := map[string]int{}
		last := ""
		for _, line := range r.lines() {
			got[strings.Join(strings.SplitN(line, " ", 3)[:2], " ")]++
			last = line
		}
		const shown = burst + perSecond*(seconds-1)
		if got["[ERROR] plugin/errors:"] != shown || got["[INFO] plugin/log:"] != seconds || got["[WARNING] plugin/nodelocal:"] != seconds+1 {
			t.Errorf("got %v", got)
		}
		want := fmt.Sprintf(`%s%d more lines that begin with "[ERROR] plugin/errors" were left out within 30s`, prefix, flood*seconds-shown)
		if last != want {
			t.Errorf("the last line is %q, want %q", last, want)
		}
		if n := counts(t)[reasonRate] - before[reasonRate]; n != flood*seconds-shown {
			t.Errorf("counted %d", n)
		}
	})
}

func TestKindOf(t *testing.T) {
	for line, want := range map[string]string{
		"[ERROR] plugin/errors: 2 a. A: EOF\n":                     "[ERROR] plugin/errors",
		"[WARNING] plugin/hedge: Upstream 10.0.0.1: silent\n":      "[WARNING] plugin/hedge",
		"[ERROR] Restart failed: x\n":                              "[ERROR]",
		"[ERROR] plugin/" + strings.Repeat("x", 100) + ": long \n": "[ERROR]",
		"[WARNING] plugin/x\n":                                     "[WARNING]",
		"[INFO] plugin/log: x\n":                                   "",
		"[ERROR]\n":                                                "",
		"":                                                         "",
	} {
		if got := string(kindOf([]byte(line))); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// TestManyKinds bounds the number of kinds.
func TestManyKinds(t *testing.T) {
	r := rate{report: func(string) {}, kinds: map[string]*bucket{}}
	defer r.flush()
	for i := range 10 * maxKinds {
		r.allow(fmt.Appendf(nil, "[ERROR] plugin/p%d: x\n", i))
	}
	if n := len(r.kinds); n != maxKinds+1 || r.kinds["[ERROR]"] == nil {
		t.Errorf("%d kinds", n)
	}
}
