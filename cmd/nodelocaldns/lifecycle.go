// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coredns/caddy"

	"github.com/nodelocaldns/nodelocaldns/internal/rendering"
	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// lifecycle keeps the start, the reloads and the end of the servers apart.
//
// Caddy does not: Instance.Restart takes no lock, and three parties would call
// into it at any time: the reload plugin's goroutine, SIGUSR1 and SIGTERM. Two
// restarts at once leave two sets of servers; a restart that overtakes the
// shutdown brings up servers after their addresses went, or hangs it
// (coredns#7314). So there is one slot, busy. Who starts, replaces or stops
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
// The hook is called by caddy when an instance serves, before Start or Restart
// returns. It also knows which instance is the current one.
type lifecycle struct {
	busy    chan struct{}
	closing chan struct{}
	ending  atomic.Bool // closing is closed, or about to be
	current atomic.Pointer[caddy.Instance]

	// reloads asks for a reload; one that is waiting already serves two wishes.
	reloads chan struct{}

	validity *validity // is told which configuration serves
}

// newLifecycle returns a lifecycle that waits for the start to give the slot back.
func newLifecycle(v *validity) *lifecycle {
	l := &lifecycle{
		busy:     make(chan struct{}, 1),
		closing:  make(chan struct{}),
		reloads:  make(chan struct{}, 1),
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
	if l.current.Swap(inst) != nil {
		nodelocal.ConfigReloads.WithLabelValues("success").Inc()
	}
	l.validity.serves(inst.Caddyfile().Body())
	<-l.busy
	return nil
}

// beginRestart takes the slot for a restart of inst. A restart that must not be
// ends its goroutine: an error would make caddy run the OnRestartFailed
// callbacks, with which health and others open their listeners once more.
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
		// An OnShutdown callback of inst failed after the new instance had
		// taken over. Caddy calls that a failed restart and keeps quiet about
		// the new instance, which would then never be reloaded again.
		caddy.EmitEvent(caddy.InstanceStartupEvent, running[n-1])
		return nil
	}
	nodelocal.ConfigReloads.WithLabelValues("error").Inc()
	l.validity.refused()
	<-l.busy
	return nil
}

// guard wraps the loader that the reload plugin calls. Reading current orders
// the hook's change of the instance before the restart that may follow.
func (l *lifecycle) guard(load caddy.LoaderFunc) caddy.LoaderFunc {
	return func(serverType string) (caddy.Input, error) {
		if l.current.Load() == nil || l.ending.Load() {
			return nil, errors.New("not serving")
		}
		return load(serverType)
	}
}

// requestReload asks for a reload and does not wait for it.
func (l *lifecycle) requestReload() {
	select {
	case l.reloads <- struct{}{}:
	default:
	}
}

// serveReloads carries out the requested reloads until the process ends. Errors
// are not its to report: load logs its own, and caddy those of a restart.
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

// watch asks for a reload when load gives another text than the one that runs,
// for Corefiles without the reload plugin. One text is tried once, as there.
func (l *lifecycle) watch(load caddy.LoaderFunc, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var tried []byte
	for {
		select {
		case <-ticker.C:
		case <-l.closing:
			return
		}
		input, err := load(rendering.ServerType)
		if err != nil || bytes.Equal(input.Body(), tried) {
			continue
		}
		tried = input.Body()
		if !bytes.Equal(tried, l.current.Load().Caddyfile().Body()) {
			l.requestReload()
		}
	}
}

// restart replaces the current instance. It returns false if another restart
// did so at the same time, perhaps with an older configuration.
func (l *lifecycle) restart(input caddy.Input) bool {
	inst, done := l.current.Load(), make(chan bool, 1)
	go func() {
		defer close(done)
		_, _ = inst.Restart(input) // logs its error
		done <- true
	}()
	return <-done || l.ending.Load()
}
