// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns/caddy"

	"github.com/nodelocaldns/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// lifecycle keeps the start, the reloads and the end of the servers apart.
//
// Caddy does not: Instance.Restart takes no lock, and three parties would call into it at any time: the reload plugin's
// goroutine, SIGUSR1 and SIGTERM. Two restarts at once leave two sets of servers; a restart that overtakes the shutdown brings
// up servers after their addresses went, or hangs it (coredns#7314). So there is one slot, busy. Who starts, replaces or stops
// servers holds it:
//
//   - the start has it from the beginning and gives it back in the event hook;
//     one that fails keeps it, since only the end of the process can follow;
//   - a restart, whoever asked for it, takes it in the first OnRestart callback,
//     which the hook puts into every instance, and gives it back in the hook for
//     the new instance, or in the last OnRestartFailed callback;
//   - the shutdown closes closing, which turns away restarts that have not
//     begun, waits for the slot, a bounded time, and keeps it.
//
// The hook is called by caddy when an instance serves, before Start or Restart returns. It also knows which instance is the
// current one.
type lifecycle struct {
	busy    chan struct{}
	closing chan struct{}
	ending  atomic.Bool // closing is closed, or about to be
	current atomic.Pointer[caddy.Instance]

	// reloads asks for a reload; one that is waiting already serves two wishes. changes asks for a look at the files.
	reloads, changes chan struct{}
	serving          chan struct{} // closed when the first instance serves

	mu    sync.Mutex
	tried []byte // the last Corefile that was to replace the current instance and that is not its own

	validity *validity // is told which configuration serves
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
	inst.OnRestart = slices.Insert(inst.OnRestart, 0, func() error { return l.beginRestart(inst) })
	inst.OnRestartFailed = append(inst.OnRestartFailed, func() error { return l.restartFailed(inst) })
	l.mu.Lock()
	first := l.current.Swap(inst) == nil
	l.tried = nil
	l.mu.Unlock()
	if first {
		close(l.serving)
	} else {
		nodelocal.ConfigReloads.WithLabelValues("success").Inc()
		ask(l.changes) // for what came during the restart
	}
	l.validity.serves(inst.Caddyfile().Body())
	<-l.busy
	return nil
}

// beginRestart takes the slot for a restart of inst. A restart that must not be ends its goroutine: an error would make caddy
// run the OnRestartFailed callbacks, with which health and others open their listeners once more.
func (l *lifecycle) beginRestart(inst *caddy.Instance) error {
	select {
	case l.busy <- struct{}{}:
	case <-l.closing:
		runtime.Goexit()
	}
	if l.ending.Load() || l.current.Load() != inst {
		<-l.busy
		runtime.Goexit() // the process ends, or another restart has replaced inst meanwhile
	}
	return nil
}

// restartFailed gives the slot back after a restart of inst that failed.
func (l *lifecycle) restartFailed(inst *caddy.Instance) error {
	running := caddy.Instances()
	if n := len(running); n > 0 && !slices.Contains(running, inst) {
		// An OnShutdown callback of inst failed after the new instance had taken over. Caddy calls that a failed restart and
		// keeps quiet about the new instance, which would then never be reloaded again.
		caddy.EmitEvent(caddy.InstanceStartupEvent, running[n-1])
		return nil
	}
	nodelocal.ConfigReloads.WithLabelValues("error").Inc()
	l.validity.refused()
	<-l.busy
	return nil
}

// guard wraps the loader that the reload plugin calls. Reading current orders the hook's change of the instance before the
// restart that may follow. A text that the watch has tried in vain is not tried by the plugin, too.
func (l *lifecycle) guard(load caddy.LoaderFunc) caddy.LoaderFunc {
	return func(serverType string) (caddy.Input, error) {
		if l.current.Load() == nil || l.ending.Load() {
			return nil, errors.New("not serving")
		}
		input, err := load(serverType)
		if err == nil && l.compare(input) == triedText {
			return nil, errors.New("tried already")
		}
		return input, err
	}
}

// A comparison is what the files say beside what runs.
type comparison int

const (
	runningText comparison = iota
	triedText              // it was to replace what runs, since that began to serve
	newText
)

// compare compares input with what runs. A text is new once.
func (l *lifecycle) compare(input caddy.Input) comparison {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch text := input.Body(); {
	case bytes.Equal(text, l.current.Load().Caddyfile().Body()):
		l.tried = nil
		return runningText
	case bytes.Equal(text, l.tried):
		return triedText
	default:
		l.tried = text
		return newText
	}
}

// ask puts a wish into a channel with room for one. A wish that waits already serves for both.
func ask(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// serveReloads carries out the requested reloads until the process ends. Errors are not its to report: load logs its own, and
// caddy those of a restart.
func (l *lifecycle) serveReloads(load caddy.LoaderFunc) {
	for {
		select {
		case <-l.reloads:
		case <-l.closing:
			return
		}
		for {
			input, err := load(rendering.ServerType)
			if err != nil || l.restart(input) {
				break
			}
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
		if runs := l.current.Load().Caddyfile(); !always && !rendering.HasDirective(runs.Path(), runs.Body(), "reload") {
			continue
		}
		if input, err := load(rendering.ServerType); err == nil && l.compare(input) == newText {
			ask(l.reloads)
		}
	}
}

// restart replaces the current instance. It returns false if another restart did so at the same time, perhaps with an older
// configuration.
func (l *lifecycle) restart(input caddy.Input) bool {
	inst, done := l.current.Load(), make(chan bool, 1)
	go func() {
		defer close(done)
		_, _ = inst.Restart(input) // logs its error
		done <- true
	}()
	return <-done || l.ending.Load()
}
