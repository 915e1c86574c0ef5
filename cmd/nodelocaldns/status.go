// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coredns/coredns/coremain"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/statuscmd"
	"github.com/nodelocaldns/nodelocaldns/internal/status"
)

// serveStatus answers the command status at a socket in dir until the returned function is called. A cache that cannot do so serves
// DNS all the same.
func serveStatus(dir string) (stop func()) {
	status.Provide("process", theJournal.describe)
	status.Provide("caches", statuscmd.Caches)
	theJournal.note(func(p *status.Process) {
		p.PID, p.Version, p.Commit, p.CoreDNS, p.Started = os.Getpid(), version, commit, coremain.CoreVersion, time.Now()
	})
	if dir == "" {
		return func() {} // the log has said so
	}
	s, err := status.Serve(dir)
	if err != nil {
		log.Warningf("nodelocaldns status gets no answer: %v", err)
		return func() {}
	}
	return func() { _ = s.Close() } // the process ends
}

// A journal knows which configuration runs, and what became of the others, for the command status.
type journal struct {
	mu sync.Mutex // nobody waits while it is held
	p  status.Process
}

// theJournal is the process's one, as the metrics are.
var theJournal journal

func (j *journal) note(change func(*status.Process)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.p)
}

// describe fills in the part of the process.
func (j *journal) describe(r *status.Report) {
	j.note(func(p *status.Process) {
		now := *p
		r.Process = &now
	})
}

// loaded notes what the files say, which may still be refused.
func (j *journal) loaded(c rendering.Corefile) {
	j.note(func(p *status.Process) { p.Source = c.Source() })
}

// serves notes that a configuration serves.
func (j *journal) serves(text []byte) {
	j.note(func(p *status.Process) {
		now := time.Now()
		if p.Hash != "" {
			p.Reload = &status.Reload{Time: now}
		}
		p.Hash, p.Serving, p.StandIn = fmt.Sprintf("%.6x", sha256.Sum256(text)), now, ""
	})
}

// valid notes that what serves is what the files say.
func (j *journal) valid() { j.note(func(p *status.Process) { p.Fault = "" }) }

// refused notes that what the files say does not replace what serves.
func (j *journal) refused(err error) {
	j.note(func(p *status.Process) {
		p.Fault = oneLine(err)
		p.Reload = &status.Reload{Time: time.Now(), Error: p.Fault}
	})
}

// standsIn notes that c serves in place of what the files say.
func (j *journal) standsIn(c standIn) {
	j.note(func(p *status.Process) { p.StandIn, p.Fault = c.name, oneLine(c.fault) })
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
