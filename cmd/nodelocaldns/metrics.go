// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serveMetrics serves the default registry at /metrics of addr, and nothing if
// addr is empty. This endpoint is the reference's; it does not depend on the
// Corefile and so is there while the servers are not. SO_REUSEPORT lets the
// next instance start beside this one. The result stops it.
func serveMetrics(addr string) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	ln, err := reuseport.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serving metrics (-metrics-listen-address): %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.Handler())
	srv := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // always an error; after Close it says so
	}()
	return func() {
		_ = srv.Close() // what is in flight at the end of the process is lost anyway
		<-done
	}, nil
}
