// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/coredns/caddy"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"github.com/nodelocaldns/nodelocaldns/plugin/nodelocal"
)

// Exit codes; those of a shutdown are caddy's.
const (
	exitOK        = 0
	exitFailure   = 1
	exitUsage     = 2
	exitForced    = 2
	exitStop      = 3
	exitCallbacks = 4
)

// restartPatience is how long the shutdown waits for a start or restart that is under way. Our manifest grants 45 s for
// everything, others 30 s.
const restartPatience = 10 * time.Second

// sayPatience is when the log says that this wait goes on.
const sayPatience = 3 * time.Second

// end reports whether the caller is the first who wants to end the process, and so the one who does. No restart begins after
// it.
func (l *lifecycle) end() bool {
	if !l.ending.CompareAndSwap(false, true) {
		return false
	}
	close(l.closing)
	return true
}

// shutdown ends serving and returns the exit code. To be called once, after end.
func (l *lifecycle) shutdown(reason string) int {
	long := time.AfterFunc(sayPatience, func() { log.Infof("Waiting up to %s for a start or reload to end", restartPatience) })
	select {
	case l.busy <- struct{}{}:
		long.Stop()
	case <-time.After(restartPatience):
		log.Warningf("A start or reload has not ended within %s: shutting down without it", restartPatience)
	}
	caddy.EmitEvent(caddy.ShutdownEvent, reason)
	code := exitOK
	if !runCallbacks(l.current.Load()) {
		code = exitCallbacks
	}
	for _, f := range caddy.OnProcessExit {
		f()
	}
	if err := caddy.Stop(); err != nil {
		log.Errorf("Stopping servers: %v", err)
		code = exitStop
	}
	if err := nodelocal.Close(); err != nil {
		log.Errorf("Removing link and rules: %v", err)
		code = exitStop
	}
	return code
}

// runCallbacks runs the shutdown callbacks of inst and reports whether all succeeded. Other than caddy it begins with the final
// ones: the first of them takes steering off and waits until the pods' last queries are answered, for which the plugins must
// still be whole (an OnShutdown makes shed drop its answers). A reload has no final callbacks, so their order matters only
// here.
func runCallbacks(inst *caddy.Instance) bool {
	if inst == nil {
		return true
	}
	ok := true
	for _, callbacks := range [][]func() error{inst.OnFinalShutdown, inst.OnShutdown} {
		for _, f := range callbacks {
			if err := f(); err != nil {
				clog.Errorf("Shutdown: %v", err)
				ok = false
			}
		}
	}
	return ok
}
