// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/prometheus/client_golang/prometheus/promhttp"
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
	if err != nil {
		log.Warningf("Metrics of -metrics-listen-address are not served while another program listens at %s", addr)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.Handler())
	srv := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if ln == nil {
			ln = listenLater(ctx, addr)
		}
		if ln != nil {
			_ = srv.Serve(ln) // always an error; after Close it says so
		}
	}()
	return func() {
		cancel()
		_ = srv.Close() // answers under way are lost at the end of the process anyway
		<-done
	}, nil
}

// listenLater tries until the address is free. It returns nil if ctx ends first.
func listenLater(ctx context.Context, addr string) net.Listener {
	for ctx.Err() == nil {
		if ln, err := reuseport.Listen("tcp", addr); err == nil {
			log.Infof("Metrics of -metrics-listen-address are served at %s", addr)
			return ln
		}
		select {
		case <-ctx.Done():
		case <-time.After(metricsRetry):
		}
	}
	return nil
}
