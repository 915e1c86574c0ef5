// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coredns/caddy"
)

// signaled starts the handler and returns how to send a signal and where exit codes come out.
func signaled(t *testing.T, l *lifecycle) (send func(os.Signal), exit chan int) {
	sigs, exit, done := make(chan os.Signal), make(chan int, 2), make(chan struct{})
	go func() { defer close(done); l.handle(sigs, exit) }()
	t.Cleanup(func() { close(sigs); <-done })
	return func(s os.Signal) { sigs <- s }, exit
}

func TestShutdownBySignal(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			l, p := newLife(t)
			logs := captureLogs(t)
			mustStart(t, l)
			send, exit := signaled(t, l)
			send(syscall.SIGHUP)
			send(syscall.SIGUSR2)
			send(sig)
			if code := <-exit; code != 0 {
				t.Errorf("exit code %d", code)
			}
			if n := len(caddy.Instances()); n != 0 {
				t.Errorf("%d instances run", n)
			}
			// The final callbacks come first: see runCallbacks.
			if got, want := p.events(), []string{"startup 1", "final 1", "shutdown 1"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			contains(t, logs.take(), "Ignoring SIGUSR2", "Shutting down: "+sig.String())
		})
	}
}

func TestShutdownCallbackFails(t *testing.T) {
	l, p := newLife(t)
	logs := captureLogs(t)
	mustStart(t, l)
	p.do("final 1", fail)
	p.do("shutdown 1", fail)
	send, exit := signaled(t, l)
	send(syscall.SIGTERM)
	if code := <-exit; code != exitCallbacks {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(logs.take(), "[ERROR] Shutdown: "+errProbe.Error()); n != 2 {
		t.Errorf("%d errors logged, want 2", n)
	}
}

// clock returns a clock that says, at each look, the next of the given times after the first look.
func clock(after ...time.Duration) func() time.Time {
	begin, looks := time.Now(), -1
	return func() time.Time {
		if looks++; looks == 0 {
			return begin
		}
		return begin.Add(after[looks-1])
	}
}

// TestSignalTwice: what timeout(1) sends is one SIGTERM. A signal after more than a second ends the process at once.
func TestSignalTwice(t *testing.T) {
	l, p := newLife(t)
	l.now = clock(time.Millisecond, sameSignal-1, sameSignal)
	logs := captureLogs(t)
	mustStart(t, l)
	reached, hang := make(chan struct{}), make(chan struct{})
	p.do("final 1", func() error { close(reached); <-hang; return nil })
	send, exit := signaled(t, l)
	send(syscall.SIGTERM)
	<-reached
	send(syscall.SIGTERM)
	send(syscall.SIGTERM)
	send(syscall.SIGHUP) // has been received when the one before has been acted on
	if len(exit) > 0 {
		t.Errorf("exit code %d within a second", <-exit)
	}
	if text := logs.take(); strings.Contains(text, "at once") {
		t.Errorf("within a second the log says %q", text)
	}
	send(syscall.SIGTERM)
	if code := <-exit; code != exitForced {
		t.Errorf("exit code %d", code)
	}
	close(hang)
	<-exit
}

// TestSecondSignal must not wait for the first.
func TestSecondSignal(t *testing.T) {
	l, p := newLife(t)
	l.now = clock(sameSignal)
	captureLogs(t)
	mustStart(t, l)
	reached, hang := make(chan struct{}), make(chan struct{})
	p.do("final 1", func() error { close(reached); <-hang; return nil })
	send, exit := signaled(t, l)
	send(syscall.SIGTERM)
	<-reached
	send(syscall.SIGINT)
	if code := <-exit; code != exitForced {
		t.Errorf("exit code %d", code)
	}
	close(hang)
	if code := <-exit; code != exitOK {
		t.Errorf("exit code %d of the first", code)
	}
}

// TestShutdownDuringReload: the reload ends first, and what it started is stopped.
func TestShutdownDuringReload(t *testing.T) {
	l, p := newLife(t)
	logs := captureLogs(t)
	mustStart(t, l)
	reached, goOn := make(chan struct{}), make(chan struct{})
	p.do("startup 2", func() error { close(reached); <-goOn; return nil })
	done := make(chan struct{})
	go func() { defer close(done); l.serveReloads(loads("2")) }()
	send, exit := signaled(t, l)
	send(syscall.SIGUSR1)
	<-reached
	send(syscall.SIGTERM)
	eventually(t, "the end", func() bool { return strings.Contains(logs.take(), "Shutting down: terminated") })
	close(goOn)
	if code := <-exit; code != exitOK {
		t.Errorf("exit code %d", code)
	}
	<-done
	want := []string{"startup 1", "restart 1", "startup 2", "shutdown 1", "final 2", "shutdown 2"}
	if got := p.events(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if n := len(caddy.Instances()); n != 0 {
		t.Errorf("%d instances run", n)
	}
}

func TestServersGone(t *testing.T) {
	l, _ := newLife(t)
	logs := captureLogs(t)
	inst := mustStart(t, l)
	exit := make(chan int, 2)
	go l.awaitServers(inst, exit)
	if err := inst.Stop(); err != nil {
		t.Fatal(err)
	}
	if code := <-exit; code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	contains(t, logs.take(), "[ERROR] plugin/nodelocal: Shutting down: no server is left")
}

// serve runs serve for a configuration whose start does what startup does.
func serve(t *testing.T, startup func(send func(os.Signal)) error) (int, error) {
	l, p := newLife(t)
	captureLogs(t)
	sigs := make(chan os.Signal)
	defer close(sigs)
	p.do("startup 1", func() error { return startup(func(s os.Signal) { sigs <- s }) })
	return l.serve(func() (*caddy.Instance, error) { return caddy.Start(config("1")) }, loads("1"), sigs)
}

func TestStartFails(t *testing.T) {
	code, err := serve(t, func(func(os.Signal)) error { return errProbe })
	if code != exitFailure || err == nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}

// TestSignalDuringFailingStart: the shutdown waits for the start, and goes on when it has failed.
func TestSignalDuringFailingStart(t *testing.T) {
	code, err := serve(t, func(send func(os.Signal)) error {
		send(syscall.SIGTERM)
		<-theLifecycle.closing
		return errProbe
	})
	if code != exitOK || err == nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestSignalDuringStart(t *testing.T) {
	code, err := serve(t, func(send func(os.Signal)) error { send(syscall.SIGTERM); return nil })
	if code != exitOK || err != nil || len(caddy.Instances()) != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
}

// TestHangingStart: two signals end even that.
func TestHangingStart(t *testing.T) {
	hang := make(chan struct{})
	code, err := serve(t, func(send func(os.Signal)) error {
		theLifecycle.now = clock(sameSignal)
		send(syscall.SIGTERM)
		send(syscall.SIGTERM)
		<-hang
		return nil
	})
	if code != exitForced || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	close(hang) // main would have exited; here the first signal's shutdown goes on
	eventually(t, "shutdown", func() bool { return slices.Contains(theProbe.events(), "shutdown 1") })
}
