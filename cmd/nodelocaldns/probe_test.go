// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"

	"github.com/nodelocaldns/nodelocaldns/cmd/nodelocaldns/internal/rendering"
)

// probe is a plugin that notes its callbacks and misbehaves as a test wants.
// Its one argument tells the configurations of a test apart.
type probe struct {
	mu   sync.Mutex
	seen []string
	on   map[string]func() error // "startup 2" and so on
}

var (
	theProbe     *probe
	theLifecycle *lifecycle
	register     = sync.OnceValue(func() error {
		plugin.Register("probe", func(c *caddy.Controller) error { return theProbe.setup(c) })
		caddy.RegisterEventHook("test", func(e caddy.EventName, info any) error { return theLifecycle.hook(e, info) })
		return dnsserver.SetDirectives(append([]string{"probe"}, directives...))
	})
)

// newLife returns a lifecycle that gets caddy's events, and a probe.
func newLife(t *testing.T) (*lifecycle, *probe) {
	t.Helper()
	if err := register(); err != nil {
		t.Fatal(err)
	}
	caddy.Quiet, dnsserver.Quiet = true, true
	theProbe, theLifecycle = &probe{on: map[string]func() error{}}, newLifecycle(&validity{})
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return theLifecycle, theProbe
}

func (p *probe) setup(c *caddy.Controller) error {
	c.Next()
	if !c.NextArg() {
		return c.ArgErr()
	}
	name := c.Val()
	note := func(event string) func() error {
		return func() error {
			event := event + " " + name
			p.mu.Lock()
			p.seen = append(p.seen, event)
			f := p.on[event]
			p.mu.Unlock()
			if f != nil {
				return f()
			}
			return nil
		}
	}
	c.OnStartup(note("startup"))
	c.OnRestart(note("restart"))
	c.OnRestartFailed(note("failed"))
	c.OnShutdown(note("shutdown"))
	c.OnFinalShutdown(note("final"))
	return nil
}

// events returns what was noted since the last call.
func (p *probe) events() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.seen = nil }()
	return p.seen
}

func (p *probe) do(event string, f func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on[event] = f
}

var errProbe = errors.New("as the test wants")

func fail() error { return errProbe }

// config is a configuration with a server on a free port.
func config(name string) caddy.Input {
	return caddy.CaddyfileInput{
		Filepath: "Corefile", ServerTypeName: rendering.ServerType,
		Contents: fmt.Appendf(nil, ".:0 {\n    bind 127.0.0.1\n    probe %s\n    whoami\n}\n", name),
	}
}

// loads returns a caddy loader that gives the named configurations, the last one for ever.
func loads(names ...string) caddy.LoaderFunc {
	var mu sync.Mutex
	return func(string) (caddy.Input, error) {
		mu.Lock()
		defer mu.Unlock()
		name := names[0]
		if len(names) > 1 {
			names = names[1:]
		}
		return config(name), nil
	}
}
