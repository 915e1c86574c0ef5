// SPDX-License-Identifier: Apache-2.0

package logwriter

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestStamps: each line has the time at which it was logged, once, and also the lines that the Writer adds. The levels are known
// as without.
func TestStamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reader
		w := newWriter(&r, true)
		fmt.Fprintln(w, "[INFO] one")
		time.Sleep(1500 * time.Millisecond)
		_, _ = w.Write([]byte("a long ")) // as relay copies it
		_, _ = w.Write([]byte("line\n"))
		w.mu.Lock()
		w.lost = 7
		w.mu.Unlock()
		w.close()
		want := []string{"2000-01-01T00:00:00.000Z [INFO] one", "2000-01-01T00:00:01.500Z a long line",
			"2000-01-01T00:00:01.500Z " + prefix + "7 lines of the log are missing here: nobody read it"}
		if got := r.lines(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var r reader
		w := newWriter(&r, true)
		for range 1000 {
			fmt.Fprintln(w, "[ERROR] plugin/errors: no answer")
		}
		w.close()
		if n := len(r.lines()); n > 300 {
			t.Errorf("%d lines of one kind, with times", n)
		}
	})
}
