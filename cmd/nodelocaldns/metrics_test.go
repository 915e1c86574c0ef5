// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"net/http"
	"testing"
)

func TestServeMetrics(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	stop, err := serveMetrics(addr)
	if err != nil {
		t.Fatal(err)
	}
	second, err := serveMetrics(addr) // the next instance, beside the first
	if err != nil {
		t.Fatal(err)
	}
	stop()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(body), `coredns_nodecache_setup_errors_total{errortype="configmap"}`, "coredns_nodelocal_config_reloads_total")
	second()
	if _, err := http.Get("http://" + addr + "/metrics"); err == nil {
		t.Error("still served after stop")
	}
}

func TestServeMetricsOff(t *testing.T) {
	stop, err := serveMetrics("")
	if err != nil {
		t.Fatal(err)
	}
	stop()
}
