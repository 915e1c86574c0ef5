// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nodelocaldns/nodelocaldns/internal/sockets"
)

// metricsRetry is the time between two tries to listen at an address in use.
var metricsRetry = 5 * time.Second

// serveMetrics serves the default registry at /metrics of addr. It serves nothing if addr is empty. The reference has this
// endpoint, too. The endpoint does not depend on the Corefile, so it is there while the servers are not. SO_REUSEPORT lets the
// next instance start beside this one. The reference does not share its address: where it still runs, the metrics are served
// when it has gone. The function stop ends the service.
func serveMetrics(addr string) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	ln, err := reuseport.Listen("tcp", addr)
	if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("serving metrics (-metrics-listen-address): %w", err)
	}
	return serveRegistry("-metrics-listen-address", addr, ln, err), nil
}

// serveRegistry serves the default registry at /metrics of ln, or of addr, as soon as it can be listened to: without ln, err says
// what kept this process from that. what names the setting that addr is from.
func serveRegistry(what, addr string, ln net.Listener, err error) (stop func()) {
	if err != nil {
		log.Warningf("Metrics of %s are not served, and tried again each %s: %v%s", what, metricsRetry, err, holder(addr))
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.Handler())
	srv := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if ln == nil {
			ln = listenLater(ctx, what, addr)
		}
		if ln != nil {
			_ = srv.Serve(ln) // always an error; after Close it says so
		}
	}()
	return func() {
		cancel()
		_ = srv.Close() // answers under way are lost at the end of the process anyway
		<-done
	}
}

// holder returns who listens at addr, as the end of a sentence; empty if nobody does.
func holder(addr string) string {
	if at, err := net.ResolveTCPAddr("tcp", addr); err == nil {
		if who := sockets.Holder("tcp", sockets.Of(at)); who != "" {
			return "; " + who
		}
	}
	return ""
}

// listenLater tries until the address is free. It returns nil if ctx ends first.
func listenLater(ctx context.Context, what, addr string) net.Listener {
	for ctx.Err() == nil {
		if ln, err := reuseport.Listen("tcp", addr); err == nil {
			log.Infof("Metrics of %s are served at %s", what, addr)
			return ln
		}
		select {
		case <-ctx.Done():
		case <-time.After(metricsRetry):
		}
	}
	return nil
}

// pluginMetrics serves the addresses of the directive prometheus at which the plugin does not. The plugin tries to listen once,
// logs that it cannot, and does not try again, at a reload either (uniq.ForEach of CoreDNS drops the error).
type pluginMetrics struct {
	mu     sync.Mutex
	served map[string]func() // by address: ends the service
}

// follow serves the addresses of corefile, which is running, at which this process does not listen, until another Corefile lacks
// them.
func (p *pluginMetrics) follow(corefile caddy.Input) {
	addrs := prometheusAddrs(corefile)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.served == nil {
		p.served = map[string]func(){}
	}
	for addr, stop := range p.served {
		if !slices.Contains(addrs, addr) {
			stop()
			delete(p.served, addr)
		}
	}
	for _, addr := range addrs {
		at, err := net.ResolveTCPAddr("tcp", addr)
		if p.served[addr] != nil || err != nil || at.Port == 0 || sockets.Listens(sockets.Of(at)) {
			continue
		}
		const what = "the directive prometheus"
		ln, err := reuseport.Listen("tcp", addr)
		if p.served[addr] = serveRegistry(what, addr, ln, err); err == nil {
			log.Infof("Metrics of %s are served at %s", what, addr)
		}
	}
}

// prometheusAddrs returns the addresses of the directive prometheus, each once; without those that want TLS, which only the plugin
// can serve.
func prometheusAddrs(corefile caddy.Input) (addrs []string) {
	blocks, err := caddyfile.Parse(corefile.Path(), bytes.NewReader(corefile.Body()), nil)
	if err != nil {
		return nil // it runs, so it can be parsed
	}
	for _, b := range blocks {
		d := caddyfile.NewDispenserTokens(corefile.Path(), b.Tokens["prometheus"])
		for d.Next() {
			addr, tls := "localhost:9153", false // the plugin's default
			if d.NextArg() {
				addr = d.Val()
			}
			for d.NextBlock() {
				tls = tls || d.Val() == "tls"
			}
			if !tls && !slices.Contains(addrs, addr) {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}
