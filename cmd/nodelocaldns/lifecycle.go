// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/corefiles"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// lifecycle keeps the start, the reloads and the end of the servers apart.
//
// Caddy does not keep them apart. Instance.Restart takes no lock. Two restarts at once leave two sets of servers. A restart that
// overtakes the shutdown brings up servers after their addresses went, or hangs the shutdown (coredns#7314). So serveReloads is
// the only one that restarts: the reload plugin asks for a look at the files, and SIGUSR1 and the watch ask for a reload. And
// there is one slot, busy. Whoever starts, replaces or stops servers holds the slot:
//
//   - The start has the slot from the beginning and gives the slot back in the event hook. A start that fails keeps the slot,
//     since only the end of the process can follow.
//   - A restart takes the slot, and gives the slot back at its end.
//   - The shutdown closes the channel closing, which turns away restarts that have not begun. It waits for the slot for a
//     bounded time, and keeps the slot.
//
// Caddy calls the hook when an instance serves and the one before has stopped, before Start or Restart returns. The hook notes
// which instance is the current one.
type lifecycle struct {
	busy    chan struct{}
	closing chan struct{}
	ending  atomic.Bool // closing is closed, or will be at once
	current atomic.Pointer[caddy.Instance]

	// reloads asks for a reload, changes for a look at the files.
	reloads, changes chan struct{}
	serving          chan struct{} // closed when the first instance serves

	// forced says that a signal has asked for a reload, of what runs already, too.
	forced atomic.Bool

	mu      sync.Mutex
	runs    []byte // the identity of what the current instance runs
	follows bool   // what the current instance runs has the directive reload, perhaps in a file that it imports
	tried   []byte // that of the last configuration that was to replace the current instance and that is not its own

	validity *validity // is told which configuration serves

	metrics pluginMetrics

	now func() time.Time // the clock between two signals
}

// newLifecycle returns a lifecycle that waits for the start to give the slot back.
func newLifecycle(v *validity) *lifecycle {
	l := &lifecycle{
		busy:     make(chan struct{}, 1),
		closing:  make(chan struct{}),
		reloads:  make(chan struct{}, 1),
		changes:  make(chan struct{}, 1),
		serving:  make(chan struct{}),
		validity: v,
		now:      time.Now,
	}
	l.busy <- struct{}{}
	return l
}

// hook is the caddy event hook.
func (l *lifecycle) hook(event caddy.EventName, info any) error {
	inst, ok := info.(*caddy.Instance)
	if event != caddy.InstanceStartupEvent || !ok {
		return nil
	}
	l.mu.Lock()
	first := l.current.Swap(inst) == nil
	l.runs, l.follows, l.tried = identity(inst.Caddyfile()), hasReload(inst.Caddyfile()), nil
	l.mu.Unlock()
	l.validity.serves(inst.Caddyfile().Body(), identity(inst.Caddyfile()))
	l.metrics.follow(inst.Caddyfile())
	if first {
		close(l.serving)
		<-l.busy
	} else {
		nodelocal.ConfigReloads.WithLabelValues("success").Inc()
		setVersion(inst.Caddyfile())
		ask(l.changes) // for what came during the restart
	}
	return nil
}

// look is the loader that the reload plugin calls at its interval. It has the watch look at the files, and gives the plugin
// nothing to restart with.
func (l *lifecycle) look(string) (caddy.Input, error) {
	ask(l.changes)
	return nil, errors.New("the watch looks at the files")
}

// isNew reports whether input is neither what runs nor what was to replace it since it began to serve. A text is new once.
func (l *lifecycle) isNew(input caddy.Input) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, last := identity(input), l.tried
	if l.tried = id; bytes.Equal(id, l.runs) {
		l.tried = nil
		return false
	}
	return !bytes.Equal(id, last)
}

// begins notes that input is about to replace what runs, so that the watch does not ask for it again. It returns false for what
// runs already, unless a signal has asked.
func (l *lifecycle) begins(input caddy.Input, forced bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := identity(input)
	if bytes.Equal(id, l.runs) {
		return forced
	}
	l.tried = id
	return true
}

// hasReload reports whether a server block has the directive reload, with the imported files as they are now.
func hasReload(input caddy.Input) bool {
	text := input.Body()
	if !bytes.Contains(text, []byte("reload")) && !bytes.Contains(text, []byte("import")) {
		return false
	}
	blocks, err := caddyfile.Parse(input.Path(), bytes.NewReader(text), nil)
	return err == nil && corefiles.Has(blocks, "reload")
}

// identity returns what tells input from another configuration: its text and, with an import, what the imported files say.
func identity(input caddy.Input) []byte {
	text := input.Body()
	if !bytes.Contains(text, []byte("import")) {
		return text
	}
	blocks, _ := caddyfile.Parse(input.Path(), bytes.NewReader(text), nil) // of a file with an error: what is before the error
	parsed, _ := json.Marshal(blocks)                                      // strings and numbers, which JSON has
	return slices.Concat(text, parsed)
}

// ask puts a wish into a channel with room for one. A wish that waits already serves for both.
func ask(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// serveReloads carries out the requested reloads until the process ends. It reports no errors: load logs its own, and caddy
// logs those of a restart.
func (l *lifecycle) serveReloads(load caddy.LoaderFunc) {
	for {
		select {
		case <-l.reloads:
		case <-l.closing:
			return
		}
		forced := l.forced.Swap(false)
		if input, err := load(rendering.ServerType); err == nil && l.begins(input, forced) {
			l.restart(input)
		}
	}
}

// watch asks for a reload when the files say something new. It looks at them after each change, and at each tick, as soon as an
// instance serves. A Corefile that does without reload is left alone, unless always is set.
func (l *lifecycle) watch(load caddy.LoaderFunc, tick <-chan time.Time, always bool) {
	select {
	case <-l.serving:
	case <-l.closing:
		return
	}
	for {
		select {
		case <-l.changes:
		case <-tick:
		case <-l.closing:
			return
		}
		l.mu.Lock()
		follows := always || l.follows
		l.mu.Unlock()
		if !follows {
			continue
		}
		if input, err := load(rendering.ServerType); err == nil && l.isNew(input) {
			ask(l.reloads)
		}
	}
}

// refuse says where the fault is in a configuration that does not replace the one that serves. err is nil after a panic, which caddy
// logs.
func (l *lifecycle) refuse(err error, input caddy.Input) {
	if err == nil {
		theJournal.refused(errors.New("the reload broke off: see the log"))
		return
	}
	err = rendering.Located(err, rendering.From(input))
	log.Errorf("Keeping the running configuration: %v", err)
	theJournal.refused(err)
}

// restart replaces the current instance, unless the process ends.
func (l *lifecycle) restart(input caddy.Input) {
	select {
	case l.busy <- struct{}{}:
		defer func() { <-l.busy }()
	case <-l.closing:
	}
	if l.ending.Load() {
		return
	}
	inst := l.current.Load()
	next, err := inst.Restart(input) // logs its error; after a panic, next is nil
	running := caddy.Instances()
	switch n := len(running); {
	case err == nil && next != nil:
	case n > 0 && !slices.Contains(running, inst):
		// An OnShutdown callback of inst failed after the new instance had taken over. Caddy calls this a failed restart, and
		// does not tell the hooks of the new instance.
		caddy.EmitEvent(caddy.InstanceStartupEvent, running[n-1])
	default:
		l.refuse(err, input)
		countRefused()
	}
}
