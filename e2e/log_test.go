// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/e2e/lab"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/client"
	"github.com/nodelocaldns/nodelocaldns/e2e/lab/harness"
)

// droppedLines is the metric of lines that were not written.
const droppedLines = "coredns_nodelocal_log_lines_dropped_total"

// deafPipe returns the end for writing of a pipe of a page that nobody reads; full says that there is no room in it.
func deafPipe(t *testing.T, full bool) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); r.Close() }) // for reading: without that end there would be an error instead of a wait
	size, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	if err == nil && full {
		_, err = w.Write(make([]byte, size))
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// failing are probes of names outside the cluster that nobody answers for, each perSecond times a second. Each is to be answered
// SERVFAIL.
func failing(l *lab.Lab, perSecond int) client.Probe {
	return client.Probe{
		From: l.Pod, Target: lab.LinkLocal, Interval: time.Second / time.Duration(perSecond), Timeout: 6 * time.Second,
		Name: func(i int) string { return fmt.Sprintf("f%d.example.org.", i) },
		Check: func(m *dns.Msg) error {
			if m.Rcode != dns.RcodeServerFailure {
				return fmt.Errorf("answered %s", dns.RcodeToString[m.Rcode])
			}
			return nil
		},
	}
}

// TestNobodyReadsTheLog has stdout and stderr be a pipe that is full, from the start on or after some lines, while each query
// is a line. The cache does its work as with a reader: it serves, repairs, reloads and leaves.
func TestNobodyReadsTheLog(t *testing.T) {
	for _, full := range []bool{true, false} {
		t.Run(fmt.Sprintf("full from the start=%t", full), func(t *testing.T) {
			l := lab.New(t, lab.IPTablesNFT)
			l.External.Signal(t, syscall.SIGKILL)
			base := strings.ReplaceAll(fourBlocks(ipv4), "    errors\n", "    errors\n    log\n")
			before := l.Node.State(t)
			c := start(t, l, options{firewall: lab.IPTablesNFT, base: base, out: deafPipe(t, full), args: []string{"-quiet=false"}})
			loads := client.StartAll(t, clients(l, ipv4...)...)
			bad := client.StartAll(t, failing(l, either(100, 10)))
			logged(t, c)
			goroutines := c.metric(t, "go_goroutines")
			progress(t, bad, either(500, 50))
			if more := c.metric(t, "go_goroutines") - goroutines; more > 100 {
				t.Errorf("%g goroutines more after a while", more)
			}
			repaired(t, c, flushOf(lab.IPTablesNFT))
			reloaded := c.metric(t, "coredns_nodelocal_config_reloads_total", `result="success"`)
			c.setBase(t, strings.Replace(base, "success 9984 30", "success 9984 29", 1))
			changed := time.Now()
			c.waitMetric(t, 10*time.Second, reloaded+1, "coredns_nodelocal_config_reloads_total", `result="success"`)
			t.Logf("the reload counted %s after the file's change", time.Since(changed).Round(10*time.Millisecond))
			progress(t, append(loads, bad...), 20)
			noFailure(t, stop(t, bad)) // the end waits for what is asked
			begin := time.Now()
			c.term(t)
			took := time.Since(begin)
			reports := stop(t, loads)
			inTime(t, "the end", took, either(2*time.Second, 20*time.Second), reports)
			acceptedOnly(t, loads, reports) // there was a reload
			if left := l.Node.State(t).Without(before); len(left.With("fallback")) == 0 || len(left.With("fallback")) != len(left) {
				t.Errorf("want the fallback table on the node and nothing else:\n%s", left)
			}
		})
	}
}

// logged asks until the queue is full, so that lines are dropped: a line for each query.
func logged(t *testing.T, c *cache) {
	t.Helper()
	var probes []client.Probe
	for i := range 4 {
		probes = append(probes, client.Probe{
			From: c.lab.Pod, Target: lab.ClusterIP, Socket: client.Unconnected, Interval: 4 * time.Millisecond, Name: client.Unique(fmt.Sprintf("full%d", i)),
		})
	}
	loads := client.StartAll(t, probes...)
	c.waitMetric(t, either(30*time.Second, 5*time.Minute), 1, droppedLines, `reason="full"`)
	noFailure(t, stop(t, loads))
}

// TestFloodOfFailures has each look-up fail at once, with a Corefile that logs each failure. The log has few lines of them, and
// says how many there were.
func TestFloodOfFailures(t *testing.T) {
	t.Parallel() // it waits most of the time
	l := lab.New(t, lab.IPTablesNFT)
	l.External.Signal(t, syscall.SIGKILL)
	c := start(t, l, options{firewall: lab.IPTablesNFT})
	begin := time.Now()
	bad := client.StartAll(t, failing(l, either(500, 50)), failing(l, either(500, 50)))
	c.waitMetric(t, either(30*time.Second, 5*time.Minute), either(2000.0, 200), droppedLines, `reason="rate"`)
	noFailure(t, stop(t, bad))
	var lines int
	harness.Until(t, saidTimeout, "200 lines", func() error {
		if lines = strings.Count(c.Output(), "[ERROR] plugin/errors: "); lines < 200 {
			return fmt.Errorf("%d lines", lines)
		}
		return nil
	})
	if most := 200 + 20*int(time.Since(begin).Seconds()+1); lines > most {
		t.Errorf("%d lines, want %d at most", lines, most)
	}
	c.WaitOutput(t, time.Minute, `more lines that begin with "[ERROR] plugin/errors" were left out within 30s`)
	t.Logf("%d lines of %d answers", lines, bad[0].SoFar().Answered()+bad[1].SoFar().Answered())
}
