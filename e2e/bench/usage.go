// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"time"

	"github.com/nodelocaldns/nodelocaldns/e2e/usage"
)

// times are the CPU times of the programs that a query passes, with all that the kernel did on behalf of each.
type times struct{ server, client, softirq time.Duration }

func (t times) since(before times) times {
	return times{t.server - before.server, t.client - before.client, t.softirq - before.softirq}
}

// meter reads the times of the server with its descendants, of this process, and of ksoftirqd: these kernel threads take over
// when there is too much to do in interrupts.
type meter struct {
	server   int // process ID
	softirqs []string
}

func newMeter(server int) meter { return meter{server, usage.Named("ksoftirqd/")} }

func (m meter) read() (t times, err error) {
	if t.server, err = usage.CPU(m.server); err != nil {
		return t, err
	}
	t.softirq = usage.Sum(m.softirqs)
	t.client, err = usage.CPU(os.Getpid())
	return t, err
}
